//! One layer: from its plan to what is stored.

use std::collections::BTreeMap;

use crate::compress::model::{Activations, Model, Stored, layer_of, matrix_shape, storage};
use crate::compress::quantize::{
    Action, Awq, Codebook, CodebookMatrix, Hqq, Linear, LinearMatrix, LogRounding, Planned,
    RangeChoice, Route, Smoothing, Width, awq, corrected_bias, gptq, hqq, hqq_judged, logarithmic,
    nf4, round_to_nearest,
};
use crate::compress::{CompressError, Hessian, Weights};
use crate::num::{
    Bits, CodeScale, Dense, Granularity, Rounding, Scheme, SparseMatrix, ValueFormat, Zero,
};
use crate::tensor::HostTensor;

use super::super::StageError;
use super::super::calibrate::LayerInputs;
use super::super::few::against_gptq;
use super::log::LayerLog;
use super::smooth::{divide, maker, unscaled};
use super::{ActivationScheme, Method, QuantizeOptions, layer_index};

/// A model on its way.
pub(super) struct Work<'a> {
    model: Model,
    inputs: &'a BTreeMap<String, LayerInputs>,
    options: &'a QuantizeOptions,
}

/// Codes of a layer, how they came about, and what they stand for.
struct Found {
    matrix: LinearMatrix,
    /// Values in the place of the weights, before factors moved.
    values: Vec<f32>,
    nearest: Vec<f32>,
    damping: Option<f64>,
    notes: Vec<String>,
}

impl<'a> Work<'a> {
    pub fn new(
        model: Model,
        inputs: &'a BTreeMap<String, LayerInputs>,
        options: &'a QuantizeOptions,
    ) -> Self {
        Self {
            model,
            inputs,
            options,
        }
    }

    /// As far as it is.
    pub const fn model(&self) -> &Model {
        &self.model
    }

    pub fn finish(self) -> Model {
        self.model
    }

    /// Stores a weight as its plan says.
    pub fn layer(&mut self, planned: &Planned) -> Result<LayerLog, StageError> {
        let name = planned.name.as_str();
        let mut log = LayerLog {
            name: name.to_owned(),
            n: 0,
            k: 0,
            format: String::new(),
            notes: vec![planned.reason.clone()],
            nearest_error: None,
            error: None,
            damping: None,
            dead_inputs: 0,
            bytes: 0,
            bits_per_weight: 0.0,
            device_bits_per_weight: 0.0,
        };
        let Some(stored) = self.model.tensor(name).cloned() else {
            return Ok(log);
        };
        [log.n, log.k] = matrix_shape(stored.shape());
        let inputs = self.inputs.get(name);
        log.dead_inputs = inputs.map_or(0, |one| one.hessian.dead().len());
        if log.dead_inputs > 0 && planned.action != Action::Keep {
            log.notes.push(format!(
                "{} of {} inputs were zero in every sample",
                log.dead_inputs, log.k
            ));
        }
        match (planned.action, &stored, inputs) {
            (Action::Quantize(linear), Stored::Float(tensor), Some(inputs)) => {
                self.quantize(&mut log, tensor, &linear, inputs)?;
            }
            (Action::Quantize(linear), Stored::Sparse { .. }, inputs) => {
                self.quantize_kept(&mut log, &stored, &linear, inputs)?;
            }
            (Action::Levels(codebook, granularity), Stored::Float(tensor), inputs) => {
                self.levels(&mut log, tensor, inputs, (codebook, granularity))?;
            }
            (Action::Quantize(_), Stored::Float(_), None) => {
                log.notes
                    .push("kept: no pass of the network reads it".to_owned());
            }
            _ => {}
        }
        if let Some(stored) = self.model.tensor(name) {
            log.format = stored.format();
            let parts = storage::parts(name, stored)?;
            log.bytes = parts
                .iter()
                .map(|(_, part)| part.bytes().len() as u64)
                .sum();
            let bits = |bytes: u64| 8.0 * bytes as f64 / (log.n * log.k).max(1) as f64;
            log.bits_per_weight = bits(log.bytes);
            log.device_bits_per_weight = bits(stored.bytes());
            log.notes.extend(stored.widened());
        }
        Ok(log)
    }

    /// Integer codes.
    fn quantize(
        &mut self,
        log: &mut LayerLog,
        tensor: &HostTensor,
        linear: &Linear,
        inputs: &LayerInputs,
    ) -> Result<(), StageError> {
        let name = log.name.clone();
        let shape = tensor.shape().to_vec();
        let values = tensor.to_f32()?;
        let weights = Weights::new(&name, log.n, log.k, &values)?;
        let found = self.codes(&weights, linear, inputs)?;
        log.nearest_error = Some(relative_error(&inputs.hessian, &weights, &found.nearest)?);
        log.error = Some(relative_error(&inputs.hessian, &weights, &found.values)?);
        log.damping = found.damping;
        log.notes.extend(found.notes);
        if self.options.bias_correction {
            let bias = self.correct_bias(&weights, &found.values, inputs)?;
            log.notes.push(bias);
        }
        let activations = self.activations(log, linear);
        let stored = Stored::Quantized {
            shape,
            matrix: found.matrix,
            activations,
        };
        self.model.set(&name, stored)?;
        Ok(())
    }

    /// Codes by the method asked for.
    fn codes(
        &mut self,
        weights: &Weights<'_>,
        linear: &Linear,
        inputs: &LayerInputs,
    ) -> Result<Found, StageError> {
        let nearest = round_to_nearest(weights, linear)?;
        let nearest_values = nearest.dequantize();
        let found = |matrix: LinearMatrix, notes: Vec<String>| Found {
            values: matrix.dequantize(),
            matrix,
            nearest: nearest_values.clone(),
            damping: None,
            notes,
        };
        match self.options.method {
            Method::Nearest => Ok(found(nearest, vec!["rounded to nearest".to_owned()])),
            Method::Gptq => {
                let options = self.options.gptq;
                if let Some(reason) = against_gptq(weights, inputs, (linear, &options))? {
                    log::warn!("{}: rounded to nearest: {reason}", weights.name());
                    return Ok(found(
                        nearest,
                        vec![format!("rounded to nearest: {reason}")],
                    ));
                }
                let solved = gptq(weights, &inputs.hessian, linear, &options)?;
                let (damping, note) = match &solved.route {
                    Route::Solved { damping, .. } => {
                        let usual = options.damping;
                        let raised = if *damping > usual { ", raised" } else { "" };
                        let note = format!("solved by GPTQ with {damping} damping{raised}");
                        (Some(*damping), note)
                    }
                    Route::Nearest { reason } => (None, format!("rounded to nearest: {reason}")),
                };
                Ok(Found {
                    damping,
                    ..found(solved.matrix, vec![note])
                })
            }
            Method::Hqq => {
                let options = Hqq::default();
                let how = (linear.width, linear.granularity);
                let fitted = match inputs.hessian.n_samples() {
                    0 => hqq(weights, how.0, how.1, &options)?,
                    _ => hqq_judged(weights, &inputs.hessian, how, &options)?,
                };
                let asked = Linear {
                    rule: crate::num::ScaleRule::MinMax,
                    ..*linear
                };
                let mut note =
                    "zero points fitted by HQQ, in rows where the outputs gain".to_owned();
                if linear.rule.zero() == Zero::Symmetric {
                    note.push_str(", which always has them");
                }
                let nearest = round_to_nearest(weights, &asked)?.dequantize();
                Ok(Found {
                    nearest,
                    ..found(fitted, vec![note])
                })
            }
            Method::Awq => self.with_factors(weights, &found, nearest.clone(), |_| {
                let options = Awq::default();
                let made = awq(
                    weights,
                    &inputs.calibration,
                    &inputs.hessian,
                    linear,
                    &options,
                )?;
                let note = match made.ratio {
                    Some(ratio) => format!("AWQ factors with exponent {ratio}"),
                    None => "no AWQ factors: not scaling lost least".to_owned(),
                };
                Ok((made.matrix, made.smoothing, note))
            }),
            Method::SmoothQuant => self.with_factors(weights, &found, nearest.clone(), |name| {
                let factors = Smoothing::smooth_quant(&[*weights], &inputs.calibration, 0.5)?;
                // Powers of two move without rounding.
                let factors = factors.to_powers_of_two();
                let scaled = factors.scale_columns(weights)?;
                let scaled = Weights::new(name, weights.n(), weights.k(), &scaled)?;
                let matrix = round_to_nearest(&scaled, linear)?;
                Ok((
                    matrix,
                    factors,
                    "SmoothQuant factors, powers of two".to_owned(),
                ))
            }),
        }
    }

    /// Codes of weights with factors, which the layer before takes over; without such a layer, to nearest.
    fn with_factors(
        &mut self,
        weights: &Weights<'_>,
        found: &dyn Fn(LinearMatrix, Vec<String>) -> Found,
        nearest: LinearMatrix,
        make: impl FnOnce(&str) -> Result<(LinearMatrix, Smoothing, String), CompressError>,
    ) -> Result<Found, StageError> {
        let name = weights.name();
        let at = match maker(&self.model, layer_index(name)) {
            Ok(at) => at,
            Err(reason) => {
                let note = format!("no factors, rounded to nearest: {reason}");
                return Ok(found(nearest, vec![note]));
            }
        };
        let (matrix, smoothing, note) = make(name)?;
        let values = unscaled(name, matrix.dequantize(), &smoothing)?;
        divide(&mut self.model, at, &smoothing)?;
        Ok(Found {
            values,
            ..found(matrix, vec![format!("{note}, moved into layer {at}")])
        })
    }

    /// Takes the mean error of the outputs into the bias; says what became of it.
    fn correct_bias(
        &mut self,
        weights: &Weights<'_>,
        values: &[f32],
        inputs: &LayerInputs,
    ) -> Result<String, StageError> {
        let name = format!("{}.bias", layer_of(weights.name()));
        let Some(Stored::Float(bias)) = self.model.tensor(&name) else {
            return Ok("no bias to correct".to_owned());
        };
        let before = bias.to_f32()?;
        let after = corrected_bias(weights, values, &inputs.calibration, Some(&before))?;
        let after = HostTensor::from_f32(vec![after.len()], &after)?;
        self.model.set(&name, Stored::Float(after))?;
        Ok("bias corrected by the mean error".to_owned())
    }

    /// How activations meet the codes: blocks that do not fit give way to rows.
    fn activations(&self, log: &mut LayerLog, linear: &Linear) -> Activations {
        // Scales that are found beforehand are found when all layers are stored.
        let asked = self.options.scheme.activations.as_they_come();
        let Activations::Int8PerBlock(block) = asked else {
            return asked;
        };
        let size = block as usize;
        let fits_group = match linear.granularity {
            Granularity::Group(group) => group % block.max(1) == 0 || block % group.max(1) == 0,
            Granularity::Tensor | Granularity::Channel => true,
        };
        if size > 0 && size.is_multiple_of(8) && log.k.is_multiple_of(size) && fits_group {
            return asked;
        }
        log.notes.push(format!(
            "activations have a scale a row: blocks of {block} do not fit {} inputs in {linear}",
            log.k
        ));
        Activations::Int8PerRow
    }

    /// Codes for the kept values of a pruned weight.
    fn quantize_kept(
        &mut self,
        log: &mut LayerLog,
        stored: &Stored,
        linear: &Linear,
        inputs: Option<&LayerInputs>,
    ) -> Result<(), StageError> {
        let Stored::Sparse { shape, matrix, .. } = stored else {
            return Ok(());
        };
        let Some(scheme) = kept_scheme(linear) else {
            log.notes.push(format!(
                "kept: values of a pruned weight have symmetric int8 or int4 codes over their full range, not {linear}"
            ));
            return Ok(());
        };
        let values = matrix.decompress();
        let dense = Dense {
            name: &log.name,
            n: log.n,
            k: log.k,
            weights: &values,
        };
        let layout = matrix.format().layout;
        let quantized = SparseMatrix::compress(&dense, layout, ValueFormat::Quantized(scheme))?;
        if let Some(inputs) = inputs {
            let weights = Weights::new(&log.name, log.n, log.k, &values)?;
            let error = relative_error(&inputs.hessian, &weights, &quantized.decompress())?;
            (log.nearest_error, log.error) = (Some(error), Some(error));
        }
        log.notes
            .push("kept values of a pruned weight, rounded to nearest".to_owned());
        if self.options.scheme.activations != ActivationScheme::FLOAT {
            log.notes.push(
                "activations stay float: no kernel multiplies pruned weights in integers"
                    .to_owned(),
            );
        }
        let stored = Stored::Sparse {
            shape: shape.clone(),
            matrix: quantized,
            activations: Activations::Float,
        };
        self.model.set(&log.name.clone(), stored)?;
        Ok(())
    }

    /// Codes of levels of a table.
    fn levels(
        &mut self,
        log: &mut LayerLog,
        tensor: &HostTensor,
        inputs: Option<&LayerInputs>,
        (codebook, granularity): (Codebook, Granularity),
    ) -> Result<(), StageError> {
        let values = tensor.to_f32()?;
        let weights = Weights::new(&log.name, log.n, log.k, &values)?;
        let matrix: CodebookMatrix = match codebook {
            Codebook::Nf4 => nf4(&weights, granularity)?,
            Codebook::Log2(width) => {
                logarithmic(&weights, width, granularity, LogRounding::default())?
            }
        };
        let nearest = matrix.dequantize();
        if let Some(inputs) = inputs {
            let error = relative_error(&inputs.hessian, &weights, &nearest)?;
            (log.nearest_error, log.error) = (Some(error), Some(error));
            if self.options.bias_correction {
                let note = self.correct_bias(&weights, &nearest, inputs)?;
                log.notes.push(note);
            }
        }
        if self.options.scheme.activations != ActivationScheme::FLOAT {
            log.notes
                .push("activations stay float: levels are no integers".to_owned());
        }
        let shape = tensor.shape().to_vec();
        self.model
            .set(&log.name.clone(), Stored::Levels { shape, matrix })?;
        Ok(())
    }
}

/// The scheme under which kept values of pruned weights are quantized.
pub(in crate::compress::stage) fn kept_scheme(linear: &Linear) -> Option<Scheme> {
    let bits = match linear.width {
        Width::Int8 => Bits::Int8,
        Width::Int4 => Bits::Int4,
        Width::Int2 | Width::Int3 | Width::Int6 => return None,
    };
    let is_plain = linear.rule.zero() == Zero::Symmetric && linear.range == RangeChoice::MinMax;
    is_plain.then_some(Scheme {
        bits,
        granularity: linear.granularity,
        rule: linear.rule,
        rounding: Rounding::HalfEven,
        scale_type: linear.scale_type,
        code_scale: CodeScale::Stored,
    })
}

/// `sqrt(tr(D H D^T) / tr(W H W^T))`: 0 where nothing is lost, also of a layer without outputs.
fn relative_error(
    hessian: &Hessian,
    weights: &Weights<'_>,
    values: &[f32],
) -> Result<f64, StageError> {
    let wide = |value: &f32| f64::from(*value);
    let own: Vec<f64> = weights.values().iter().map(wide).collect();
    let changes: Vec<f64> = own
        .iter()
        .zip(values)
        .map(|(own, new)| wide(new) - own)
        .collect();
    let name = weights.name();
    // Sums made in f32 may fall below zero by their rounding.
    let lost = hessian.loss(name, &changes)?.max(0.0);
    let whole = hessian.loss(name, &own)?.max(0.0);
    Ok(if lost == 0.0 {
        0.0
    } else {
        (lost / whole).sqrt()
    })
}
