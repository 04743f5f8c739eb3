//! Networks: names, roles and first values of their tensors, and a forward pass over them.
//!
//! * [`Network`]: what can be trained. [`Mlp`], [`cnn`], [`mobilenet`] and [`decoder`] are some; [`Sequential`]
//!   makes others of [`Layer`]s, with the names of a `torch.nn.Sequential`. [`SampleKind`] says what they take.
//! * [`Role`]: parameters have gradients; running statistics do not, but are stored with them.
//! * [`Pass`]: what a forward pass knows: the tape, its tensors, and whether it is for training.
//! * [`fold`]: batch normalization into the layer before it. [`transfer`]: trained tensors under a new [`head`].
//! * [`described`]: a network by a line of text. [`Hinted`]: one that learns features of a teacher's.
//! * [`llama`]: decoders of the llama family over a cache, from GGUF files and folders of Hugging Face's.
//! * [`Bert`]: an encoder of sentences, which is run and compressed but not trained.
//! * [`LayerSummary`]: parameters and multiply-adds of a layer.

mod bert;
mod cnn;
mod decoder;
mod described;
mod error;
mod fake_quantized;
mod fold;
mod hinted;
mod initial;
mod layer;
pub mod llama;
mod mlp;
mod mobilenet;
mod network;
mod pass;
mod pattern;
mod samples;
mod sequential;
mod summary;
mod transfer;

pub(crate) use bert::stored_name as bert_stored_name;
pub use bert::{Bert, BertLinear, BertWeight, LayerPass, Sequences, bert_tensor, check_bert_sizes};
pub use cnn::cnn;
pub use decoder::{DecoderSizes, SelfAttention, decoder};
pub use described::described;
pub use error::ModelError;
pub use fake_quantized::{FakeQuantized, SeenScales, learned_scale_name};
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
pub use samples::SampleKind;
pub use sequential::Sequential;
pub use summary::LayerSummary;
pub use transfer::{head, transfer};
