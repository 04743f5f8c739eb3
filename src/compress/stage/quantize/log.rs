//! What quantization did, layer by layer.

use serde::{Deserialize, Serialize};

/// One weight.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerLog {
    /// Name of the tensor.
    pub name: String,
    /// Rows: outputs.
    pub n: usize,
    /// Columns: inputs of an output.
    pub k: usize,
    /// What is stored: `int4-g32`, `f32`.
    pub format: String,
    /// How it came about, and why, as sentences without a full stop.
    pub notes: Vec<String>,
    /// `sqrt(tr(D H D^T) / tr(W H W^T))` of rounding to nearest over the calibration inputs: the error of the
    /// layer's outputs, relative to them. `None` for a layer that stays as it is.
    pub nearest_error: Option<f64>,
    /// The same of what is stored.
    pub error: Option<f64>,
    /// What the solver added to the Hessian's diagonal, as a share of its mean; above what was asked where it had to
    /// be raised.
    pub damping: Option<f64>,
    /// Input features that were zero in every sample.
    pub dead_inputs: usize,
    /// Bytes in the file.
    pub bytes: u64,
    /// Bits a weight in the file, scales and zero points included.
    pub bits_per_weight: f64,
    /// The same on a device, where codes have the width that kernels read.
    pub device_bits_per_weight: f64,
}

/// All weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QuantizeLog {
    /// The scheme as it was understood.
    pub scheme: String,
    /// The method.
    pub method: String,
    /// Samples that calibrated.
    pub samples: usize,
    /// What concerns the whole network.
    pub notes: Vec<String>,
    /// Each weight.
    pub layers: Vec<LayerLog>,
}
