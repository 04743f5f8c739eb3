//! A compressed decoder as a GGUF file: the file it was made of, with other contents in the weights of its layers.

use std::collections::BTreeMap;
use std::error::Error;

use crate::compress::model::ModelFileError;
use crate::compress::quantize::Linear;
use crate::compress::stage::StageError;
use crate::compress::stage::quantize::Method as Coding;
use crate::io::atomic;
use crate::io::compressed_tensors::codes::read_codes_file;
use crate::io::gguf::{GgufFile, rewrite_gguf};
use crate::io::hf::DecoderConfig;
use crate::models::llama::{GgufWeights, ModelTensor, WeightSource};
use crate::num::ggml::{GgmlError, GgmlType, encode, to_blocks, with_minima};
use crate::num::{Granularity, QuantizedMatrix, ScaleType, Width, Zero};
use crate::tensor::DType;

use super::block::{DecoderLinear, LayerWeights, neighbours_of_halves, permuted};
use super::partial::Partial;

/// The type of GGUF files that holds codes of a scheme as a method makes them: HQQ always has zero points.
///
/// # Errors
/// [`StageError::Setting`] for a scheme that none holds.
pub fn gguf_type(linear: &Linear, coding: Coding) -> Result<GgmlType, StageError> {
    let is_blocks =
        linear.granularity == Granularity::Group(32) && linear.scale_type == ScaleType::F16;
    let zero = match coding {
        Coding::Hqq => Zero::ZeroPoint,
        _ => linear.rule.zero(),
    };
    match (linear.width, zero) {
        (Width::Int4, Zero::Symmetric) if is_blocks => Ok(GgmlType::Q4_0),
        (Width::Int4, Zero::ZeroPoint) if is_blocks => Ok(GgmlType::Q4_1),
        (Width::Int8, Zero::Symmetric) if is_blocks => Ok(GgmlType::Q8_0),
        _ => Err(StageError::Setting {
            what: "scheme of a GGUF file".to_owned(),
            given: format!("{linear} by {}", coding.name()),
            allowed: "int4-g32, which is Q4_0, int4-g32-zp, and int4-g32 by hqq, which are Q4_1, and int8-g32 by others \
                      than hqq, which is Q8_0; a folder takes the others"
                .to_owned(),
        }),
    }
}

/// What a file holds of a matrix, so that layers behind it read what those who load the file will: zero points as
/// minima.
pub(super) fn as_in_file(
    name: &str,
    matrix: &QuantizedMatrix,
) -> Result<QuantizedMatrix, StageError> {
    with_minima(name, matrix).map_err(|reason| no_blocks(name, &reason))
}

fn no_blocks(name: &str, reason: &GgmlError) -> StageError {
    StageError::Setting {
        what: format!("{name} in a GGUF file"),
        given: reason.to_string(),
        allowed: "int4-g32, int4-g32-zp and int8-g32".to_owned(),
    }
}

type AnyError = Box<dyn Error + Send + Sync>;

impl Partial {
    /// Makes it a GGUF file of the one that it was made of, and removes what is beside it. Gives its bytes. `file_type`
    /// is what most of its weights are, where they are in codes.
    ///
    /// # Errors
    /// [`StageError::Setting`] as [`gguf_type`] has it; files that cannot be read or written.
    pub fn finish_gguf(
        self,
        file: &GgufFile,
        coded: Option<(&Linear, Coding)>,
    ) -> Result<u64, StageError> {
        let source = GgufWeights::new(file)?;
        let config = source.config()?;
        let mut kinds = BTreeMap::new();
        let mut places = BTreeMap::new();
        for layer in 0..config.n_layers {
            self.kinds(&source, (&config, layer), &mut |tensor, kind| {
                kinds.insert(tensor.gguf_name(), kind);
                places.insert(tensor.gguf_name(), (layer, tensor));
            })?;
        }
        // `enum llama_ftype`
        let coded = coded.map(|(linear, coding)| gguf_type(linear, coding));
        let file_type = match coded.transpose()? {
            Some(GgmlType::Q4_0) => Some(2),
            Some(GgmlType::Q4_1) => Some(3),
            Some(GgmlType::Q8_0) => Some(7),
            _ => None,
        };
        let out = self.out().to_owned();
        rewrite_gguf(
            (file, &out),
            file_type,
            &kinds,
            |name| -> Result<Vec<u8>, AnyError> {
                let (Some(&(layer, tensor)), Some(&kind)) = (places.get(name), kinds.get(name))
                else {
                    unreachable!("{name} is in both");
                };
                self.bytes(&source, &config, (layer, tensor, kind))
            },
        )?;
        atomic::remove_folder(self.folder())?;
        let bytes = std::fs::metadata(&out).map_err(|reason| {
            StageError::from(ModelFileError::NoModel {
                file: out.clone(),
                reason: reason.to_string(),
            })
        })?;
        Ok(bytes.len())
    }

    /// The tensors of a layer that are no longer those of the file, and their types.
    fn kinds(
        &self,
        source: &GgufWeights<'_>,
        (config, layer): (&DecoderConfig, usize),
        each: &mut dyn FnMut(ModelTensor, GgmlType),
    ) -> Result<(), StageError> {
        let file = self.layer_file(layer)?;
        let note = self.note(layer).cloned().unwrap_or_default();
        let (_, codes) = self.layer(layer)?;
        for which in DecoderLinear::ALL {
            let name = which.name(layer);
            if note.coded.contains_key(&name) {
                let Some(matrix) = codes.get(&which) else {
                    continue;
                };
                let blocks = to_blocks(&name, matrix);
                let (kind, _) = blocks.map_err(|reason| no_blocks(&name, &reason))?;
                each(which.tensor(layer), kind);
                continue;
            }
            let is_changed = note
                .logs
                .iter()
                .any(|log| log.name == which.tensor(layer).hf_name() && log.sparsity.is_some());
            if is_changed {
                let host = file.tensor(&which.tensor(layer).hf_name())?;
                let kind = match host.dtype() {
                    DType::F16 => GgmlType::F16,
                    DType::BF16 => GgmlType::Bf16,
                    _ => GgmlType::F32,
                };
                each(which.tensor(layer), kind);
            }
        }
        let weights = LayerWeights {
            index: layer,
            linears: BTreeMap::new(),
            changed: BTreeMap::new(),
        };
        for tensor in weights.vectors(config) {
            let before = source.vector(tensor)?.to_f32()?;
            if file.tensor(&tensor.hf_name())?.to_f32()? != before {
                each(tensor, GgmlType::F32);
            }
        }
        Ok(())
    }

    /// The contents of one of them.
    fn bytes(
        &self,
        source: &GgufWeights<'_>,
        config: &DecoderConfig,
        (layer, tensor, kind): (usize, ModelTensor, GgmlType),
    ) -> Result<Vec<u8>, AnyError> {
        let (file, hf_name) = (self.layer_file(layer)?, tensor.hf_name());
        let mut all = DecoderLinear::ALL.into_iter();
        let Some(which) = all.find(|which| which.tensor(layer) == tensor) else {
            let values = file.tensor(&hf_name)?.to_f32()?;
            return Ok(encode(&hf_name, kind, &values, 1, values.len())?);
        };
        let ([n, k], name) = (which.shape(config), which.name(layer));
        let rows = neighbours_of_halves(which, config, source.rotation());
        if let Some(coded) = self.note(layer).and_then(|note| note.coded.get(&name)) {
            let mut matrix = read_codes_file(&file, &name, &coded.args(&name)?)?;
            if let Some(rows) = rows {
                let sorted = matrix.select_rows(&rows);
                matrix = sorted.ok_or("one scale for the whole tensor has no blocks")?;
            }
            return Ok(to_blocks(&name, &matrix)?.1);
        }
        let mut values = file.tensor(&hf_name)?.to_f32()?;
        if let Some(rows) = rows {
            values = permuted(&values, k, &rows);
        }
        Ok(encode(&hf_name, kind, &values, n, k)?)
    }
}
