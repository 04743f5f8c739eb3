//! Lapidary makes neural networks smaller and runs them with WGSL compute shaders on any GPU, and
//! proves on the user's own adapter that every kernel computes what its CPU reference defines.
//!
//! The floors, from the ground up; each uses only what stands below it:
//! [`num`] and [`tensor`], [`io`], [`data`] and [`text`], [`eval`], [`shader`], [`record`], then [`kernels`] beside [`engine`], then
//! [`ops`], [`autograd`], [`models`], [`generate`], [`train`], [`verify`], [`embed`], [`tune`], [`compress`] and [`report`].

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod autograd;
pub mod compress;
pub mod data;
pub mod embed;
pub mod engine;
pub mod eval;
pub mod generate;
pub mod io;
pub mod kernels;
pub mod models;
pub mod num;
pub mod ops;
pub mod record;
pub mod report;
pub mod search;
pub mod shader;
pub mod tensor;
pub mod text;
pub mod train;
pub mod tune;
pub mod verify;

/// The README's snippets are compiled and run as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
