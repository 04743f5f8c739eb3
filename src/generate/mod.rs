//! Language models at work.
//!
//! * [`LanguageModel`]: a decoder with its tokenizer and chat template, from a GGUF file or a folder of Hugging
//!   Face's.
//! * [`Session`]: a text over a cache, or several side by side; reads pieces of many tokens and single ones, each as one
//!   submission.
//! * [`Sampling`] and [`Sampler`]: the choice of the next token, a function of seed and position.
//! * [`generate`]: text from a prompt, streamed, until a token or a string that ends it; [`generate_each`] from several
//!   prompts at once.
//! * [`log_probabilities`] and [`Perplexity`]: how well a model predicts a text.
//! * [`divergence`]: how far its predictions are from another model's; [`CutText`] and [`BaseLogits`] where the two are
//!   not on the device at the same time.
//! * [`verify`]: every operation of a pass against its definition.

mod divergence;
mod error;
mod model;
mod perplexity;
mod sample;
mod session;
mod stream;
mod verify;

pub use divergence::{BaseLogits, Divergence, divergence};
pub use error::GenerateError;
pub use model::{Headers, LanguageModel, Vocabulary, text_of};
pub use perplexity::{CutText, Perplexity, Windows, log_probabilities};
pub use sample::{PENALIZED_TOKENS, Sampler, Sampling};
pub use session::{Candidates, Session, SessionOptions};
pub use stream::{Ended, GenerateOptions, Generated, generate, generate_each};
pub use verify::{Operation, Verification, verify};
