//! A `Recording` is plain data: what to upload, dispatch, download and free. It knows no device, so
//! the GPU engine and the CPU engine run the same one and can be compared dispatch by dispatch.

mod buffer;
mod launch;
mod outcome;
mod params;
mod recording;

pub use buffer::{Buffer, BufferId, Tensor, Watch, padded_bytes};
pub use launch::{
    Access, Build, Cost, HostOperands, HostResults, Iterations, Launch, Part, Slot,
    example_operands, usable_variants,
};
pub use outcome::{Bound, Comparison, Mismatch, Output, Values, compare};
pub(crate) use params::params;
pub use recording::{Binding, Command, Dispatch, Pin, RecordError, Recording};
