//! The list of commands, and the checks made as it grows: every binding exists, is large enough, and
//! does not alias another that is written.

use std::sync::Arc;

use thiserror::Error;

use crate::shader::{Edit, Variant};
use crate::tensor::{DType, HostTensor};

use super::{Access, Buffer, Build, Launch, Tensor, padded_bytes};

/// A command that does not fit its buffers.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum RecordError {
    /// More words than the buffer holds.
    #[error("upload of {needed} bytes into a buffer of {available}")]
    UploadTooLong {
        /// Bytes to upload.
        needed: u64,
        /// Bytes the buffer has.
        available: u64,
    },
    /// A slot without a buffer.
    #[error("{kernel} ({shape}): no buffer for binding {binding} `{name}`")]
    MissingBinding {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
        /// Binding number.
        binding: u32,
        /// Slot name.
        name: &'static str,
    },
    /// A buffer smaller than the kernel touches.
    #[error(
        "{kernel} ({shape}): binding {binding} `{name}` needs {needed} bytes, the buffer has {available}"
    )]
    TooSmall {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
        /// Binding number.
        binding: u32,
        /// Slot name.
        name: &'static str,
        /// Bytes needed.
        needed: u64,
        /// Bytes the buffer has.
        available: u64,
    },
    /// One buffer bound twice, at least once for writing.
    #[error(
        "{kernel} ({shape}): `{name}` shares its buffer with another operand and one of them is written"
    )]
    Aliased {
        /// Kernel name.
        kernel: &'static str,
        /// Its shape.
        shape: String,
        /// Slot name.
        name: &'static str,
    },
}

/// A buffer bound to one slot of a dispatch.
#[derive(Debug, Clone)]
pub struct Binding {
    /// Binding number.
    pub binding: u32,
    /// The buffer; the shader sees it from its first byte.
    pub buffer: Buffer,
    /// How the kernel touches it.
    pub access: Access,
}

/// Forces how a dispatch is built, for verification and profiling.
#[derive(Debug, Clone)]
pub struct Pin {
    /// The variant to use.
    pub variant: Variant,
    /// Edits that break the shader on purpose.
    pub edits: Vec<Edit>,
    /// With or without runtime checks.
    pub build: Build,
}

/// One kernel call with its buffers.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The kernel call.
    pub launch: Arc<dyn Launch>,
    /// Its buffers, in slot order.
    pub bindings: Vec<Binding>,
    /// How to build it, when not left to the engine.
    pub pin: Option<Pin>,
}

/// One step of a recording.
#[derive(Debug, Clone)]
pub enum Command {
    /// Fill a buffer from the start.
    Upload {
        /// Destination.
        buffer: Buffer,
        /// Content; at most the buffer's size.
        words: Arc<[u32]>,
    },
    /// Run a kernel.
    Dispatch(Dispatch),
    /// Return a tensor's content to the caller.
    Download(Tensor),
    /// The content is not needed after this point.
    Free(Buffer),
}

/// A list of commands that any engine can run.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    commands: Vec<Command>,
    inputs: Vec<Tensor>,
}

impl Recording {
    /// An empty recording.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commands in order.
    pub fn commands(&self) -> &[Command] {
        &self.commands
    }

    /// Tensors that a plan's caller fills before each replay.
    pub fn inputs(&self) -> &[Tensor] {
        &self.inputs
    }

    /// Dispatches in order.
    pub fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.commands.iter().filter_map(|command| match command {
            Command::Dispatch(dispatch) => Some(dispatch),
            Command::Upload { .. } | Command::Download(_) | Command::Free(_) => None,
        })
    }

    /// Uploads a host tensor into a new buffer.
    pub fn upload(&mut self, host: &HostTensor) -> Tensor {
        let tensor = Tensor::new(host.dtype(), host.shape());
        let (buffer, words) = (tensor.buffer().clone(), host.words().into());
        self.commands.push(Command::Upload { buffer, words });
        tensor
    }

    /// Fills `buffer` from the start with `words`.
    ///
    /// # Errors
    /// [`RecordError::UploadTooLong`] when they do not fit.
    pub fn upload_words(
        &mut self,
        buffer: &Buffer,
        words: impl Into<Arc<[u32]>>,
    ) -> Result<(), RecordError> {
        let words = words.into();
        let needed = 4 * words.len() as u64;
        if needed > buffer.bytes() {
            return Err(RecordError::UploadTooLong {
                needed,
                available: buffer.bytes(),
            });
        }
        self.commands.push(Command::Upload {
            buffer: buffer.clone(),
            words,
        });
        Ok(())
    }

    /// A new tensor with undefined content, for a kernel to write.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        Tensor::new(dtype, shape)
    }

    /// A new tensor that the caller of a plan fills before each replay.
    pub fn input(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let tensor = Tensor::new(dtype, shape);
        self.inputs.push(tensor.clone());
        tensor
    }

    /// Asks for a tensor's content at this point; results come back in the order they were asked for.
    pub fn download(&mut self, tensor: &Tensor) {
        self.commands.push(Command::Download(tensor.clone()));
    }

    /// Says that a buffer's content is not needed any more.
    pub fn free(&mut self, buffer: &Buffer) {
        self.commands.push(Command::Free(buffer.clone()));
    }

    /// Appends a copy of a command, for instance of another recording.
    pub fn append(&mut self, command: &Command) {
        self.commands.push(command.clone());
    }

    /// Appends a kernel call. `buffers` pairs binding numbers with buffers.
    ///
    /// # Errors
    /// [`RecordError`] when a slot has no buffer, a buffer is too small, or written memory is aliased.
    pub fn dispatch(
        &mut self,
        launch: Arc<dyn Launch>,
        buffers: &[(u32, &Buffer)],
    ) -> Result<(), RecordError> {
        let bindings = check_bindings(launch.as_ref(), buffers)?;
        self.commands.push(Command::Dispatch(Dispatch {
            launch,
            bindings,
            pin: None,
        }));
        Ok(())
    }

    /// Appends a kernel call whose variant is given.
    ///
    /// # Errors
    /// As [`Recording::dispatch`].
    pub fn dispatch_pinned(
        &mut self,
        launch: Arc<dyn Launch>,
        buffers: &[(u32, &Buffer)],
        pin: Pin,
    ) -> Result<(), RecordError> {
        let bindings = check_bindings(launch.as_ref(), buffers)?;
        self.commands.push(Command::Dispatch(Dispatch {
            launch,
            bindings,
            pin: Some(pin),
        }));
        Ok(())
    }
}

fn check_bindings(
    launch: &dyn Launch,
    buffers: &[(u32, &Buffer)],
) -> Result<Vec<Binding>, RecordError> {
    let mut bindings: Vec<Binding> = Vec::new();
    for slot in launch.slots() {
        let (kernel, shape) = (launch.kernel(), launch.describe());
        let Some((_, buffer)) = buffers.iter().find(|(binding, _)| *binding == slot.binding) else {
            return Err(RecordError::MissingBinding {
                kernel,
                shape,
                binding: slot.binding,
                name: slot.name,
            });
        };
        let needed = padded_bytes(slot.bytes);
        if buffer.bytes() < needed {
            let (binding, name, available) = (slot.binding, slot.name, buffer.bytes());
            return Err(RecordError::TooSmall {
                kernel,
                shape,
                binding,
                name,
                needed,
                available,
            });
        }
        let shared = bindings
            .iter()
            .find(|other| other.buffer.id() == buffer.id());
        if shared.is_some_and(|other| other.access != Access::Read || slot.access != Access::Read) {
            return Err(RecordError::Aliased {
                kernel,
                shape,
                name: slot.name,
            });
        }
        bindings.push(Binding {
            binding: slot.binding,
            buffer: (*buffer).clone(),
            access: slot.access,
        });
    }
    Ok(bindings)
}
