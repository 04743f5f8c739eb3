//! Encoders compressed layer by layer with calibration text.
//!
//! The linear layers of an encoder layer are compressed from the inputs that they have on the device once all layers
//! before are compressed, as the reference codes of GPTQ, SparseGPT and Wanda do it: the inputs of one layer are
//! captured while it still has its own weights, all its six weights are compressed, and what it gives with them is
//! what the next layer reads. Embeddings and normalizations stay as they are.

mod capture;
pub mod decoder;
pub mod encoder;
mod method;

use crate::compress::model::{Activations, Stored};
use crate::compress::stage::{Progress, StageError};
use crate::engine::Engine;
use crate::io::hf::Shards;
use crate::kernels::sparse::Route;
use crate::models::{Bert, BertLinear, BertWeight, ModelError, bert_stored_name, bert_tensor};
use crate::ops::{ActivationPath, Weight};
use crate::record::Recording;
use crate::tensor::HostTensor;

use capture::Hidden;

pub use method::{Compressed, Method, Needs};

/// The name of this stage in progress and errors.
const STAGE: &str = "transformer";

/// What an encoder is compressed from.
#[derive(Clone, Copy)]
pub struct BertInputs<'a> {
    /// Where it runs.
    pub engine: &'a dyn Engine,
    /// The encoder there, with its own weights.
    pub bert: &'a Bert,
    /// Its weights on the host.
    pub weights: &'a Shards,
    /// Sentences as tokens; methods that look at inputs want a few thousand tokens, and none that the result is
    /// judged by.
    pub calibration: &'a [Vec<u32>],
    /// Hears of progress and says whether to go on.
    pub watch: &'a dyn Fn(&Progress) -> bool,
}

impl std::fmt::Debug for BertInputs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BertInputs")
            .field("config", self.bert.config())
            .field("calibration", &self.calibration.len())
            .finish_non_exhaustive()
    }
}

/// A linear layer, compressed.
#[derive(Debug, Clone)]
pub struct CompressedLinear {
    /// Name in the model's file, without `.weight`.
    pub name: String,
    /// Its weight.
    pub stored: Stored,
    /// What the layer's inputs are multiplied by before they meet the weight, `[inputs]`.
    pub input_factors: Option<Vec<f32>>,
    /// Mean squared change of the outputs on the calibration inputs, as a share of their mean square; of methods
    /// that look at the inputs' Hessian.
    pub output_error: Option<f64>,
    /// The same of rounding to nearest, where the method compares with it.
    pub nearest_error: Option<f64>,
}

/// An encoder, compressed.
#[derive(Debug)]
pub struct CompressedBert {
    /// On the engine, in the formats of `linears`.
    pub bert: Bert,
    /// Layer by layer in the order of [`BertLinear::ALL`].
    pub linears: Vec<CompressedLinear>,
}

impl CompressedBert {
    /// Bytes of all linear weights and input factors on a device.
    pub fn bytes(&self) -> u64 {
        let factors = |one: &CompressedLinear| one.input_factors.as_ref().map_or(0, Vec::len);
        let bytes = |one: &CompressedLinear| one.stored.bytes() + 4 * factors(one) as u64;
        self.linears.iter().map(bytes).sum()
    }

    /// The largest share of the outputs' mean square that a layer lost, and its name.
    pub fn worst(&self) -> Option<(&str, f64)> {
        let errors = self
            .linears
            .iter()
            .filter_map(|one| Some((one.name.as_str(), one.output_error?)));
        errors.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// Compresses all linear layers of an encoder. Pruned weights run by `route`; it changes no value.
///
/// # Errors
/// [`StageError`]: numbers of the method that are out of range, calibration without tokens where the method needs
/// inputs, what the engine says, and [`StageError::Stopped`].
pub fn compress_bert(
    inputs: &BertInputs<'_>,
    method: &Method,
    route: Route,
) -> Result<CompressedBert, StageError> {
    compress_by(inputs, (method.needs(), &|_| Some(*method)), route)
}

/// The method for a layer by its name, none for one that stays.
type Choice<'a> = &'a dyn Fn(&str) -> Option<Method>;

/// The same by a method for each layer, none for one that stays as it is; `needs` are those of all.
fn compress_by(
    inputs: &BertInputs<'_>,
    (needs, method_of): (Needs, Choice<'_>),
    route: Route,
) -> Result<CompressedBert, StageError> {
    if needs != Needs::Nothing && inputs.calibration.iter().all(Vec::is_empty) {
        return Err(StageError::Setting {
            what: "calibration sentences".to_owned(),
            given: inputs.calibration.len().to_string(),
            allowed: "at least one with tokens".to_owned(),
        });
    }
    let config = inputs.bert.config();
    let mut made = CompressedBert {
        bert: inputs.bert.clone(),
        linears: Vec::new(),
    };
    let mut hidden = match needs {
        Needs::Nothing => None,
        Needs::Ranges | Needs::Hessian => Some(Hidden::embed(
            inputs.engine,
            inputs.bert,
            inputs.calibration,
        )?),
    };
    let of = config.n_layers * BertLinear::ALL.len();
    for layer in 0..config.n_layers {
        let seen = match &hidden {
            None => None,
            Some(hidden) => Some(hidden.capture(inputs.engine, &made.bert, layer, needs)?),
        };
        let mut uploads = Recording::new();
        for which in BertLinear::ALL {
            let name = which.name(layer);
            tell(inputs, &name, [made.linears.len(), of])?;
            let [n, k] = which.shape(config);
            let weight = bert_tensor(inputs.weights, &format!("{name}.weight"), &[n, k])?;
            let Some(method) = method_of(&name) else {
                made.linears.push(CompressedLinear {
                    name,
                    stored: Stored::Float(weight),
                    input_factors: None,
                    output_error: None,
                    nearest_error: None,
                });
                continue;
            };
            let weight = weight.to_f32()?;
            let statistics = seen.as_ref().map(|seen| seen.of(which));
            let one = method.compress(&name, [n, k], &weight, statistics)?;
            let own = bert_stored_name(inputs.weights, &format!("{name}.weight"));
            let own = inputs.weights.tensor(&own).map_err(ModelError::from)?;
            let one = one.rounded_to((&name, own.dtype()), [n, k])?;
            let placed = place(&mut uploads, &one, route)?;
            made.bert.set_weight(layer, which, placed)?;
            made.linears.push(CompressedLinear {
                name,
                stored: one.stored,
                input_factors: one.input_factors,
                output_error: one.output_error,
                nearest_error: one.nearest_error,
            });
        }
        inputs.engine.run(&uploads)?;
        if let Some(hidden) = &mut hidden {
            hidden.advance(inputs.engine, &made.bert, layer)?;
        }
    }
    tell(inputs, "done", [of, of])?;
    Ok(made)
}

fn tell(inputs: &BertInputs<'_>, what: &str, [done, of]: [usize; 2]) -> Result<(), StageError> {
    let progress = Progress {
        stage: STAGE,
        what: what.to_owned(),
        done,
        of,
    };
    match (inputs.watch)(&progress) {
        true => Ok(()),
        false => Err(StageError::Stopped { progress }),
    }
}

fn place(
    uploads: &mut Recording,
    compressed: &Compressed,
    route: Route,
) -> Result<BertWeight, StageError> {
    let path = |activations: &Activations| match activations {
        Activations::Float => ActivationPath::Float,
        Activations::Int8PerRow => ActivationPath::Int8PerRow,
        Activations::Int8PerBlock(size) => ActivationPath::Int8PerBlock(*size),
        Activations::Int8Static(scale) => ActivationPath::Int8Static(*scale),
    };
    let (weight, activations) = match &compressed.stored {
        Stored::Float(tensor) => (
            Weight::upload_dense(uploads, tensor)?,
            ActivationPath::Float,
        ),
        Stored::Levels { .. } => (
            Weight::upload_dense(uploads, &compressed.stored.values())?,
            ActivationPath::Float,
        ),
        Stored::Quantized {
            matrix,
            activations,
            ..
        } => (
            Weight::upload_quantized(uploads, matrix.matrix()),
            path(activations),
        ),
        Stored::Sparse {
            matrix,
            activations,
            ..
        } => (
            Weight::upload_sparse(uploads, matrix, route),
            path(activations),
        ),
    };
    let input_factors = match &compressed.input_factors {
        None => None,
        Some(factors) => {
            let host = HostTensor::from_f32(vec![factors.len()], factors)?;
            Some(uploads.upload(&host))
        }
    };
    Ok(BertWeight {
        weight,
        activations,
        input_factors,
    })
}
