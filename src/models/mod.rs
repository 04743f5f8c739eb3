//! Networks: names, roles and first values of their tensors, and a forward pass over them.
//!
//! * [`Network`]: what can be trained. [`Mlp`], [`cnn`] and [`mobilenet`] are some; [`Sequential`] makes others
//!   of [`Layer`]s, with the names of a `torch.nn.Sequential`.
//! * [`Role`]: parameters have gradients; running statistics do not, but are stored with them.
//! * [`Pass`]: what a forward pass knows: the tape, its tensors, and whether it is for training.
//! * [`fold`]: batch normalization into the layer before it. [`transfer`]: trained tensors under a new [`head`].
//! * [`described`]: a network by a line of text. [`Hinted`]: one that learns features of a teacher's.
//! * [`LayerSummary`]: parameters and multiply-adds of a layer.

mod cnn;
mod described;
mod error;
mod fake_quantized;
mod fold;
mod hinted;
mod initial;
mod layer;
mod mlp;
mod mobilenet;
mod network;
mod pass;
mod pattern;
mod sequential;
mod summary;
mod transfer;

pub use cnn::cnn;
pub use described::described;
pub use error::ModelError;
pub use fake_quantized::FakeQuantized;
pub use fold::{check_values, fold};
pub use hinted::Hinted;
pub use initial::{First, Initial};
pub use layer::Layer;
pub use mlp::Mlp;
pub use mobilenet::mobilenet;
pub use network::{
    NamedTensor, Network, Role, TensorSpec, file_tensors, load_f32, load_parameters, load_tensor,
};
pub use pass::{Mode, Pass, PassTensor, SeenInput, Windows};
pub use pattern::matches;
pub use sequential::Sequential;
pub use summary::LayerSummary;
pub use transfer::{head, transfer};
