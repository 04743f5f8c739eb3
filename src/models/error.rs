//! Why a network cannot be made or filled.

use std::path::PathBuf;

use thiserror::Error;

use crate::io::IoError;
use crate::io::hf::HfError;
use crate::tensor::TensorError;

/// Why a network cannot be made or filled with values.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error(transparent)]
    Io(Box<IoError>),
    /// A folder of Hugging Face's that cannot be read.
    #[error(transparent)]
    Hf(Box<HfError>),
    /// Values that do not form the tensor asked for.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A network without inputs, or a layer without outputs.
    #[error("layer {layer} of the network has size 0; at least 1 is needed")]
    EmptyLayer {
        /// Its index; 0 is the input.
        layer: usize,
    },
    /// Extents whose product is past what can be numbered.
    #[error("{what} {extents:?} has more elements than can be addressed")]
    TooLarge {
        /// What has these extents.
        what: String,
        /// The extents.
        extents: Vec<usize>,
    },
    /// A tensor for which the host has no memory.
    #[error("tensor `{name}` of {shape:?} f32: the host has no memory of that size")]
    NoMemory {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A layer that cannot take what the one before it gives.
    #[error("layer {layer} ({kind}) takes {expected}, the layer before it gives {found:?}")]
    LayerInput {
        /// Its index, from 0.
        layer: usize,
        /// Its kind.
        kind: &'static str,
        /// Shape of a sample before it.
        found: Vec<usize>,
        /// What it takes.
        expected: String,
    },
    /// A layer with a number out of range.
    #[error("layer {layer} ({kind}): {what} = {given}; allowed: {allowed}")]
    LayerSetting {
        /// Its index, from 0.
        layer: usize,
        /// Its kind.
        kind: &'static str,
        /// Which number.
        what: &'static str,
        /// Its value.
        given: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// Tensors of more or fewer layers than the configuration says.
    #[error("{}: has tensors of {found} layers, its configuration says {expected}", folder.display())]
    OtherLayers {
        /// The folder.
        folder: PathBuf,
        /// One more than the last layer with a tensor.
        found: usize,
        /// Layers of the configuration.
        expected: usize,
    },
    /// A file's tensor of another shape.
    #[error("{}: tensor `{name}` has shape {found:?}, the network needs {expected:?}", file.display())]
    OtherShape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The network's.
        expected: Vec<usize>,
    },
    /// A linear layer whose columns are not in the order of its inputs.
    #[error("{}: the inputs of layer `{name}` have an order of their own (act-order), for which encoders have no path", file.display())]
    Ordered {
        /// The file.
        file: PathBuf,
        /// The layer.
        name: String,
    },
    /// A file's tensor of a type that parameters cannot have.
    #[error("{}: tensor `{name}`: {reason}", file.display())]
    OtherType {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong.
        reason: Box<TensorError>,
    },
    /// A file's tensor with an element that is infinite or NaN.
    #[error("{}: tensor `{name}`, element {index} is {value}; parameters are finite", file.display())]
    NotFinite {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// First such element, row-major.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// Given values that are not those of the network.
    #[error("tensor {index}: `{found}` was given, the network has `{expected}`")]
    OtherValues {
        /// Position.
        index: usize,
        /// Name, type and shape given.
        found: String,
        /// Name, type and shape needed.
        expected: String,
    },
    /// An index past the layers of a network.
    #[error("layer {layer}: the network has {layers}, numbered from 0")]
    NoLayer {
        /// The index.
        layer: usize,
        /// Layers there are.
        layers: usize,
    },
    /// A description that names no network for the samples at hand.
    #[error(
        "network `{description}`: {reason}; for example: mlp 784-32-10, mlp 32, cnn, mobilenet 0.5"
    )]
    Description {
        /// What was given.
        description: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Features that cannot be brought to the shape of a teacher's.
    #[error(
        "layer {layer}: features {found:?} cannot be projected to the teacher's {expected:?}; flat ones to flat ones, or images to images of the same height and width"
    )]
    Projection {
        /// The student's layer.
        layer: usize,
        /// Shape of its features.
        found: Vec<usize>,
        /// Shape of the teacher's.
        expected: Vec<usize>,
    },
    /// A pattern of tensors to draw anew that no name fits.
    #[error("`{pattern}` to draw anew: no tensor has such a name; there are: {names}")]
    NothingAnew {
        /// The pattern.
        pattern: String,
        /// Names of all tensors.
        names: String,
    },
}

impl From<IoError> for ModelError {
    fn from(error: IoError) -> Self {
        Self::Io(Box::new(error))
    }
}

impl From<HfError> for ModelError {
    fn from(error: HfError) -> Self {
        Self::Hf(Box::new(error))
    }
}
