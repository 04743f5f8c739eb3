//! One layer of a decoder: from its plan, its weights and what they read to what is stored.
//!
//! Factors of AWQ and SmoothQuant belong to the inputs of a layer, so weights that read the same inputs have the same
//! ones: their rows are searched as one matrix. The inputs are divided where they are made: norms by their weight, the
//! heads' outputs by the rows of the value weight, gated features by the rows of the up weight. So weights behind go
//! first, and their makers are rounded with the factors in them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::compress::model::Stored;
use crate::compress::prune::SparseGpt;
use crate::compress::quantize::{Awq, Hqq, Linear, LinearMatrix, Smoothing, awq, round_to_nearest};
use crate::compress::stage::StageError;
use crate::compress::stage::quantize::Method as Coding;
use crate::compress::{Hessian, Weights};
use crate::io::hf::{DecoderConfig, DecoderKind};
use crate::models::llama::{ModelTensor, WeightSource};
use crate::tensor::{DType, HostTensor};

use super::super::method::Method;
use super::block::{DecoderLinear, LayerWeights};
use super::hidden::{Seen, Site};
use super::plan::{Change, Fate, PlannedLinear, Pruning};

/// A linear weight, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinearLog {
    /// Name of the tensor.
    pub name: String,
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// `int4-g32`, `f16`, ..
    pub format: String,
    /// Bits a weight in the file, scales and zero points included.
    pub bits_per_weight: f64,
    /// Share of the weights that are zero, of pruned ones.
    pub sparsity: Option<f64>,
    /// `sqrt(tr(D H D^T) / tr(W H W^T))` over what the weight read of the calibration texts: the error of its outputs,
    /// relative to them.
    pub error: Option<f64>,
    /// The same of rounding to nearest, where the method compares with it.
    pub nearest_error: Option<f64>,
    /// How it came about.
    pub notes: Vec<String>,
}

/// A layer, compressed: floats are in the weights, codes here.
pub(super) struct Solved {
    pub codes: BTreeMap<DecoderLinear, LinearMatrix>,
    pub logs: Vec<LinearLog>,
}

/// What a layer is compressed from.
pub(super) struct Job<'a> {
    pub source: &'a dyn WeightSource,
    pub config: &'a DecoderConfig,
    pub change: &'a Change,
    pub planned: &'a [PlannedLinear],
    pub seen: Option<&'a Seen>,
    /// Hears of each weight and may say to stop.
    pub tell: &'a dyn Fn(&str) -> Result<(), StageError>,
}

/// Weights behind come before those that make their inputs.
const ORDER: [Site; 4] = [Site::Heads, Site::Attention, Site::Gated, Site::Ffn];

impl Job<'_> {
    /// Compresses a layer.
    pub fn solve(&self, weights: &mut LayerWeights) -> Result<Solved, StageError> {
        let mut solved = Solved {
            codes: BTreeMap::new(),
            logs: Vec::new(),
        };
        for site in ORDER {
            let note = match self.change {
                Change::Quantize { coding, .. }
                    if matches!(coding, Coding::Awq | Coding::SmoothQuant) =>
                {
                    match self.with_factors(weights, site, *coding, &mut solved)? {
                        None => continue,
                        Some(reason) => {
                            Some(format!("rounded to nearest without factors: {reason}"))
                        }
                    }
                }
                _ => None,
            };
            for which in site.readers() {
                self.alone(weights, *which, note.clone(), &mut solved)?;
            }
        }
        let place = |name: &str| {
            let mut all = DecoderLinear::ALL.iter();
            all.position(|which| which.tensor(weights.index).hf_name() == name)
        };
        solved.logs.sort_by_key(|log| place(&log.name));
        Ok(solved)
    }

    fn planned(&self, which: DecoderLinear) -> Option<&PlannedLinear> {
        self.planned.iter().find(|one| one.which == which)
    }

    fn fate(&self, which: DecoderLinear) -> Fate {
        self.planned(which).map_or(Fate::Keep, |one| one.fate)
    }

    /// One weight by itself.
    fn alone(
        &self,
        weights: &mut LayerWeights,
        which: DecoderLinear,
        note: Option<String>,
        solved: &mut Solved,
    ) -> Result<(), StageError> {
        let name = which.tensor(weights.index).hf_name();
        (self.tell)(&name)?;
        let shape = which.shape(self.config);
        let reason = self.planned(which).map(|one| one.reason.clone());
        let mut notes: Vec<String> = reason.into_iter().chain(note).collect();
        let Some(weight) = weights.linears.get_mut(&which) else {
            return Ok(());
        };
        let method = match (self.fate(which), self.change) {
            (Fate::Keep, _) => {
                solved.logs.push(LinearLog {
                    name,
                    shape,
                    format: weight.dtype.to_string(),
                    bits_per_weight: 8.0 * weight.dtype.bytes() as f64,
                    sparsity: None,
                    error: None,
                    nearest_error: None,
                    notes,
                });
                return Ok(());
            }
            (Fate::Codes(linear), Change::Quantize { coding, gptq, .. }) => match coding {
                Coding::Gptq => Method::Gptq(linear, *gptq),
                Coding::Hqq => Method::Hqq {
                    width: linear.width,
                    granularity: linear.granularity,
                    options: Hqq::default(),
                },
                Coding::Nearest | Coding::Awq | Coding::SmoothQuant => Method::Nearest(linear),
            },
            (Fate::Codes(linear), Change::Prune { .. }) => Method::Nearest(linear),
            (Fate::Zeros(sparsity), change) => match change {
                Change::Prune {
                    pruning: Pruning::SparseGpt,
                    ..
                } => Method::SparseGpt(sparsity, SparseGpt::default()),
                Change::Prune {
                    pruning: Pruning::Wanda,
                    ..
                } => Method::Wanda(sparsity),
                Change::Prune { .. } | Change::Quantize { .. } => Method::Magnitude(sparsity),
            },
        };
        let seen = self.seen.map(|seen| seen.of(Site::of(which)));
        let made = method.compress(&name, shape, &weight.values, seen)?;
        let root = |share: Option<f64>| share.map(|share| share.max(0.0).sqrt());
        let mut log = LinearLog {
            name,
            shape,
            format: String::new(),
            bits_per_weight: 0.0,
            sparsity: None,
            error: root(made.output_error),
            nearest_error: root(made.nearest_error),
            notes: Vec::new(),
        };
        match made.stored {
            Stored::Quantized { matrix, .. } => {
                log.format = matrix.to_string();
                notes.extend(matrix.widened());
                solved.codes.insert(which, matrix);
            }
            other => {
                // As the file will hold them, so that the next layer reads what those who load it will.
                let host = HostTensor::from_f32_as(
                    stored_float(weight.dtype),
                    shape.to_vec(),
                    &other.values().to_f32()?,
                )?;
                weight.dtype = host.dtype();
                weight.values = host.to_f32()?;
                let zeros = weight.values.iter().filter(|&&value| value == 0.0).count();
                log.sparsity = Some(zeros as f64 / weight.values.len().max(1) as f64);
                log.format = weight.dtype.to_string();
                log.bits_per_weight = 8.0 * weight.dtype.bytes() as f64;
            }
        }
        log.notes.append(&mut notes);
        solved.logs.push(log);
        Ok(())
    }

    /// All weights that read the same inputs, by factors; gives the reason why there can be none.
    fn with_factors(
        &self,
        weights: &mut LayerWeights,
        site: Site,
        coding: Coding,
        solved: &mut Solved,
    ) -> Result<Option<String>, StageError> {
        let readers = site.readers();
        let (Fate::Codes(linear), Some(seen)) = (self.fate(readers[0]), self.seen) else {
            return Ok(Some("a weight of these inputs is kept".to_owned()));
        };
        if readers
            .iter()
            .any(|&one| self.fate(one) != Fate::Codes(linear))
        {
            return Ok(Some(
                "weights of the same inputs are stored differently".to_owned(),
            ));
        }
        if let Some(reason) = self.no_maker(site) {
            return Ok(Some(reason));
        }
        let seen = seen.of(site);
        let name = readers[0].name(weights.index);
        (self.tell)(&name)?;
        let k = site.width(self.config);
        let rows = readers.iter().filter_map(|one| weights.linears.get(one));
        let all: Vec<f32> = rows.flat_map(|one| &one.values).copied().collect();
        let joined = Weights::new(&name, all.len() / k, k, &all)?;
        let (matrix, smoothing, note) = if coding == Coding::Awq {
            let made = awq(
                &joined,
                &seen.calibration,
                &seen.hessian,
                &linear,
                &Awq::default(),
            )?;
            let note = match made.ratio {
                Some(ratio) => format!("AWQ factors with exponent {ratio}"),
                None => "no AWQ factors: not scaling lost least".to_owned(),
            };
            (made.matrix, made.smoothing, note)
        } else {
            let factors = Smoothing::smooth_quant(&[joined], &seen.calibration, 0.5)?;
            // Powers of two move without rounding.
            let factors = factors.to_powers_of_two();
            let scaled = factors.scale_columns(&joined)?;
            let scaled = Weights::new(&name, joined.n(), k, &scaled)?;
            let matrix = round_to_nearest(&scaled, &linear)?;
            (
                matrix,
                factors,
                "SmoothQuant factors, powers of two".to_owned(),
            )
        };
        let mut first = 0;
        for which in readers {
            let [n, _] = which.shape(self.config);
            let rows: Vec<usize> = (first..first + n).collect();
            first += n;
            let Some(part) = matrix.select_rows(&rows) else {
                return Ok(Some("one scale for the whole tensor".to_owned()));
            };
            let found = (&part, &smoothing, &linear);
            let mut log = self.factored_log((weights, *which), found, &seen.hessian)?;
            let reason = self.planned(*which).map(|one| one.reason.clone());
            log.notes.extend(reason.into_iter().chain([note.clone()]));
            log.notes.extend(part.widened());
            solved.logs.push(log);
            solved.codes.insert(*which, part);
        }
        self.divide(weights, site, &smoothing)?;
        Ok(None)
    }

    /// The log of a weight whose codes have factors in them.
    fn factored_log(
        &self,
        (weights, which): (&LayerWeights, DecoderLinear),
        (part, smoothing, linear): (&LinearMatrix, &Smoothing, &Linear),
        hessian: &Hessian,
    ) -> Result<LinearLog, StageError> {
        let name = which.tensor(weights.index).hf_name();
        let shape @ [n, k] = which.shape(self.config);
        let own = weights.linears.get(&which);
        let weight = Weights::new(&name, n, k, own.map_or(&[], |one| &one.values))?;
        let mut values = part.dequantize();
        for row in values.chunks_exact_mut(k) {
            for (value, factor) in row.iter_mut().zip(smoothing.factors()) {
                *value /= factor;
            }
        }
        let nearest = round_to_nearest(&weight, linear)?.dequantize();
        Ok(LinearLog {
            shape,
            format: part.to_string(),
            bits_per_weight: 0.0,
            sparsity: None,
            error: relative_error(hessian, &weight, &values)?,
            nearest_error: relative_error(hessian, &weight, &nearest)?,
            notes: Vec::new(),
            name,
        })
    }

    /// Why the inputs of a site cannot be divided where they are made.
    fn no_maker(&self, site: Site) -> Option<String> {
        let config = self.config;
        let maker = match site {
            Site::Attention | Site::Ffn => return None,
            Site::Heads if config.n_heads != config.n_kv_heads => {
                return Some(format!(
                    "{} heads share {} of values",
                    config.n_heads, config.n_kv_heads
                ));
            }
            Site::Heads => DecoderLinear::Value,
            Site::Gated => DecoderLinear::Up,
        };
        let is_kept = self.fate(maker) == Fate::Keep;
        is_kept.then(|| "the weight that makes these inputs is kept".to_owned())
    }

    /// Divides the inputs of a site where they are made.
    fn divide(
        &self,
        weights: &mut LayerWeights,
        site: Site,
        smoothing: &Smoothing,
    ) -> Result<(), StageError> {
        let at = weights.index;
        let (maker, vector) = match site {
            Site::Attention => (None, Some(ModelTensor::AttentionNorm(at))),
            Site::Ffn => (None, Some(ModelTensor::FfnNorm(at))),
            Site::Gated => (Some(DecoderLinear::Up), None),
            Site::Heads => {
                let has_bias = self.config.kind == DecoderKind::Qwen2;
                let bias = has_bias.then_some(ModelTensor::VBias(at));
                (Some(DecoderLinear::Value), bias)
            }
        };
        if let Some(vector) = vector {
            let (name, values) = (vector.hf_name(), weights.vector(self.source, vector)?);
            let divided = smoothing.divide(&name, &values)?;
            weights.changed.insert(name, divided);
        }
        if let Some(maker) = maker
            && let Some(weight) = weights.linears.get_mut(&maker)
        {
            let ([n, k], name) = (maker.shape(self.config), maker.name(at));
            let rows = Weights::new(&name, n, k, &weight.values)?;
            weight.values = smoothing.divide_rows(&rows)?;
        }
        Ok(())
    }
}

/// Of values that are new: as the file's own, at least f16.
const fn stored_float(dtype: DType) -> DType {
    match dtype {
        DType::F16 | DType::BF16 => dtype,
        _ => DType::F32,
    }
}

fn relative_error(
    hessian: &Hessian,
    weights: &Weights<'_>,
    values: &[f32],
) -> Result<Option<f64>, StageError> {
    let lost = hessian.loss(weights.name(), &weights.differences(values))?;
    let whole = hessian.loss(weights.name(), &weights.to_f64())?;
    Ok((whole > 0.0).then(|| (lost.max(0.0) / whole).sqrt()))
}
