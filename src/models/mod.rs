//! Networks: names, roles and first values of their tensors, and a forward pass over them.
//!
//! * [`Network`]: what can be trained. [`Mlp`] is one; [`Sequential`] makes others of [`Layer`]s, with the
//!   names of a `torch.nn.Sequential`.
//! * [`Role`]: parameters have gradients; running statistics do not, but are stored with them.
//! * [`Pass`]: what a forward pass knows: the tape, its tensors, and whether it is for training.
//! * [`LayerSummary`]: parameters and multiply-adds of a layer.

mod error;
mod fake_quantized;
mod initial;
mod layer;
mod mlp;
mod network;
mod pass;
mod pattern;
mod sequential;
mod summary;

pub use error::ModelError;
pub use fake_quantized::FakeQuantized;
pub use initial::{First, Initial};
pub use layer::Layer;
pub use mlp::Mlp;
pub use network::{NamedTensor, Network, Role, TensorSpec, load_f32, load_parameters};
pub use pass::{Mode, Pass, PassTensor};
pub use pattern::matches;
pub use sequential::Sequential;
pub use summary::LayerSummary;
