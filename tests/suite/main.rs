//! Everything that needs the whole library: shaders without a GPU, the engines, the command line.
//!
//! One binary, so that the library is linked once. A test that needs an adapter fails without one and
//! names the command that brings it.

mod attention;
mod cli;
mod cli_train;
mod engine;
mod gradients;
mod limits;
mod long_sums;
mod masks;
mod memory;
mod nn;
mod ops;
mod optim;
mod optim_overflow;
mod proof;
mod shaders;
mod sparse;
mod support;
mod train;
