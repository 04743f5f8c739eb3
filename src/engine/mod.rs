//! Engines run recordings. The GPU engine is the only place that names the GPU API; the CPU engine
//! calls each kernel's reference. Both speak the same trait, so any recording can be compared.

mod choices;
mod cpu;
pub mod gpu;

pub use choices::Choices;
pub use cpu::CpuEngine;
pub use gpu::GpuEngine;

use std::collections::BTreeSet;

use thiserror::Error;

use crate::record::{BufferId, Command, RecordError, Recording, Tensor};
use crate::shader::ShaderError;
use crate::tensor::{HostTensor, TensorError};

/// Why an engine could not do what it was asked.
#[derive(Debug, Clone, Error)]
pub enum EngineError {
    /// No adapter fits the request.
    #[error("no GPU adapter matches `{wanted}`; found: {found}")]
    NoAdapter {
        /// What was asked for.
        wanted: String,
        /// Adapters that exist.
        found: String,
    },
    /// An option outside what can work.
    #[error("engine option {name} = {value}; allowed: {allowed}")]
    InvalidOption {
        /// Option.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The adapter would not give a device.
    #[error("{adapter}: device request failed: {reason}")]
    DeviceRequest {
        /// Adapter name.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },
    /// The device is gone; open a new engine.
    #[error("{adapter}: device lost: {reason}; open a new engine")]
    DeviceLost {
        /// Adapter name.
        adapter: String,
        /// The driver's reason.
        reason: String,
    },
    /// Memory budget or device memory exhausted.
    #[error("{adapter}: {needed} more bytes do not fit: {in_use} in use, budget {budget}")]
    OutOfMemory {
        /// Adapter name.
        adapter: String,
        /// Bytes asked for.
        needed: u64,
        /// Bytes held.
        in_use: u64,
        /// Bytes allowed; `u64::MAX` when the device itself refused.
        budget: u64,
    },
    /// A buffer over the device's limit.
    #[error("{adapter}: a buffer of {bytes} bytes, limit {limit}")]
    BufferTooLarge {
        /// Adapter name.
        adapter: String,
        /// Bytes asked for.
        bytes: u64,
        /// Device limit.
        limit: u64,
    },
    /// A binding over the device's limit, in a kernel that cannot be cut that small.
    #[error(
        "{kernel} ({shape}): an operand of {bytes} bytes cannot be split to the binding limit of {limit}"
    )]
    BindingTooLarge {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
        /// Largest operand.
        bytes: u64,
        /// Device limit.
        limit: u64,
    },
    /// More workgroups than two folded dimensions can hold.
    #[error(
        "{kernel} ({shape}): {workgroups} workgroups, the device allows {limit} in each of two dimensions"
    )]
    GridTooLarge {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
        /// Workgroups asked for.
        workgroups: u64,
        /// Limit of one dimension.
        limit: u32,
    },
    /// Sums so long that the driver would silently stop in the middle.
    #[error(
        "{kernel} ({shape}): every variant needs more than the {limit} loop iterations after which this driver stops"
    )]
    LoopTooLong {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
        /// The driver's limit.
        limit: u64,
    },
    /// No variant that computes the right thing on this adapter.
    #[error("{kernel} ({shape}): every variant is in quarantine or cannot be run on this adapter")]
    Quarantined {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
    },
    /// A tensor that was never uploaded nor written.
    #[error("{what}: the tensor holds no data on this engine (never uploaded or written)")]
    Uninitialized {
        /// Operation and operand.
        what: String,
    },
    /// A recording that uploads to a buffer after using it, made into a plan.
    #[error(
        "prepare: {buffer} is uploaded after it was used or twice; a plan uploads once, when it is prepared: declare an input instead"
    )]
    PlanUpload {
        /// The buffer.
        buffer: String,
    },
    /// A plan's input that is missing or has the wrong type or shape.
    #[error("plan input {index}: expected {expected}, got {got}")]
    PlanInput {
        /// Position among the declared inputs.
        index: usize,
        /// Declared type and shape.
        expected: String,
        /// What was given.
        got: String,
    },
    /// A dispatch that does not fit its bindings.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A shader that does not link or validate.
    #[error(transparent)]
    Shader(#[from] ShaderError),
    /// Downloaded bytes that do not form the tensor asked for.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The driver or the GPU API refused something we believed valid.
    #[error("{adapter}: {reason}")]
    Driver {
        /// Adapter name.
        adapter: String,
        /// What was reported.
        reason: String,
    },
}

/// Bytes that an engine has room for; `None` where it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryLimits {
    /// In all, on top of what it holds now.
    pub free: Option<u64>,
    /// In one buffer.
    pub buffer: Option<u64>,
}

/// Runs recordings and holds the memory their tensors name.
pub trait Engine: Send + Sync {
    /// Device line for reports: adapter, driver and backend, or `cpu`.
    fn name(&self) -> String;

    /// Runs all commands in order and returns what was asked to be downloaded.
    ///
    /// # Errors
    /// Any [`EngineError`]; the engine stays usable unless the device was lost.
    fn run(&self, recording: &Recording) -> Result<Vec<HostTensor>, EngineError>;

    /// Makes a recording ready for replay. Its uploads are done here, once; what it frees stays until
    /// the plan is dropped; a resident tensor that a dispatch changes keeps the change from one replay
    /// to the next, as a training step's parameters do.
    ///
    /// # Errors
    /// Any [`EngineError`].
    fn prepare(&self, recording: &Recording) -> Result<Box<dyn Plan>, EngineError>;

    /// Device bytes held now, memory that waits for reuse included; `None` for an engine without a device.
    fn device_bytes(&self) -> Option<u64> {
        None
    }

    /// The most device bytes held at a time so far; `None` for an engine without a device.
    fn peak_device_bytes(&self) -> Option<u64> {
        None
    }

    /// Command buffers submitted so far; `None` for an engine without a device.
    fn submissions(&self) -> Option<u64> {
        None
    }

    /// What still fits.
    fn memory_limits(&self) -> MemoryLimits {
        MemoryLimits::default()
    }

    /// Whether tensors lie in the host's own memory, and none elsewhere.
    fn is_in_host_memory(&self) -> bool {
        false
    }

    /// Nanoseconds on the device of each dispatch of a recording that was run before, with its position among
    /// the recording's dispatches; nothing where the engine has no clock for that.
    ///
    /// # Errors
    /// As [`Self::run`].
    fn dispatch_times(&self, _recording: &Recording) -> Result<Vec<(usize, f64)>, EngineError> {
        Ok(Vec::new())
    }

    /// Copies a tensor to the host.
    ///
    /// # Errors
    /// [`EngineError::Uninitialized`] when nothing was ever put there.
    fn download(&self, tensor: &Tensor) -> Result<HostTensor, EngineError> {
        let mut recording = Recording::new();
        recording.download(tensor);
        let mut results = self.run(&recording)?;
        results.pop().ok_or_else(|| EngineError::Uninitialized {
            what: "download".to_owned(),
        })
    }

    /// Copies a host tensor into the engine's memory.
    ///
    /// # Errors
    /// Out of memory, buffer limits, device loss.
    fn upload(&self, host: &HostTensor) -> Result<Tensor, EngineError> {
        let mut recording = Recording::new();
        let tensor = recording.upload(host);
        self.run(&recording)?;
        Ok(tensor)
    }
}

/// A recording made ready: replaying it compiles nothing and allocates no device memory.
pub trait Plan: Send + Sync {
    /// Fills the declared inputs, in the order they were declared, replays, and returns the downloads.
    ///
    /// # Errors
    /// [`EngineError::PlanInput`] for a wrong input, else device errors.
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, EngineError>;

    /// Device bytes of intermediates, after sharing by lifetime.
    fn intermediate_bytes(&self) -> u64;
}

/// A recording's uploads, and the commands that a replay repeats.
fn split_uploads(recording: &Recording) -> Result<(Recording, Recording), EngineError> {
    let (mut uploads, mut replayed) = (Recording::new(), Recording::new());
    let mut seen: BTreeSet<BufferId> = BTreeSet::new();
    for command in recording.commands() {
        match command {
            Command::Upload { buffer, .. } => {
                if !seen.insert(buffer.id()) {
                    return Err(EngineError::PlanUpload {
                        buffer: format!("{buffer:?}"),
                    });
                }
                uploads.append(command);
            }
            Command::Dispatch(dispatch) => {
                seen.extend(dispatch.bindings.iter().map(|binding| binding.buffer.id()));
                replayed.append(command);
            }
            Command::Download(tensor) => {
                seen.insert(tensor.buffer().id());
                replayed.append(command);
            }
            Command::Free(_) => {}
        }
    }
    Ok((uploads, replayed))
}

/// Checks a plan's inputs against the tensors declared for them.
fn check_inputs(declared: &[Tensor], given: &[HostTensor]) -> Result<(), EngineError> {
    let describe = |dtype, shape: &[usize]| format!("{dtype} {shape:?}");
    for index in 0..declared.len().max(given.len()) {
        let expected = declared
            .get(index)
            .map(|tensor| describe(tensor.dtype(), tensor.shape()));
        let got = given
            .get(index)
            .map(|host| describe(host.dtype(), host.shape()));
        if expected != got {
            let nothing = || "nothing".to_owned();
            let (expected, got) = (
                expected.unwrap_or_else(nothing),
                got.unwrap_or_else(nothing),
            );
            return Err(EngineError::PlanInput {
                index,
                expected,
                got,
            });
        }
    }
    Ok(())
}
