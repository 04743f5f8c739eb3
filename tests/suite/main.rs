//! Everything that needs the whole library: shaders without a GPU, the engines, the command line.
//!
//! One binary, so that the library is linked once. A test that needs an adapter fails without one and
//! names the command that brings it.

mod attention;
mod bert;
mod cli;
mod cli_config;
mod cli_decoder;
mod cli_eval;
mod cli_generate;
mod cli_language_files;
mod cli_language_table;
mod cli_models;
mod cli_optimize;
mod cli_outputs;
mod cli_prune;
mod cli_quantize;
mod cli_resume;
mod cli_search;
mod cli_to_gguf;
mod cli_train;
mod cli_widths;
mod compress;
mod conv;
mod decoder;
mod decoder_methods;
mod deploy;
mod distill;
mod distill_stage;
mod engine;
mod fast;
mod gradients;
mod gradients_nn;
mod limits;
mod llama;
mod llama_folders;
mod long_sums;
mod masks;
mod memory;
mod mixed;
mod models;
mod nn;
mod ops;
mod optim;
mod optim_overflow;
mod proof;
mod prune;
mod qat;
mod qat_networks;
mod quantize;
mod shaders;
mod sparse;
mod static_inputs;
mod support;
mod train;
mod train_mixed;
