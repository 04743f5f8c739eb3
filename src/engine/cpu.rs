//! The CPU engine: every dispatch runs its kernel's reference. It defines what the others must match.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::{
    Access, Binding, BufferId, Command, Dispatch, HostOperands, Recording, Tensor, Watch,
};
use crate::tensor::HostTensor;

use super::{Engine, EngineError, Plan, check_inputs, split_uploads};

#[derive(Debug)]
struct Resident {
    words: Vec<u32>,
    watch: Watch,
}

type Memory = BTreeMap<BufferId, Resident>;

/// Runs recordings with the kernels' references, on the host.
#[derive(Debug, Clone, Default)]
pub struct CpuEngine {
    memory: Arc<Mutex<Memory>>,
}

impl CpuEngine {
    /// An engine with empty memory.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        "cpu (reference)".to_owned()
    }

    fn run(&self, recording: &Recording) -> Result<Vec<HostTensor>, EngineError> {
        let mut memory = self.lock();
        memory.retain(|_, resident| resident.watch.is_alive());
        let mut downloads = Vec::new();
        for command in recording.commands() {
            match command {
                Command::Upload { buffer, words } => {
                    let mut content = vec![0; (buffer.bytes() / 4) as usize];
                    content[..words.len()].copy_from_slice(words);
                    memory.insert(
                        buffer.id(),
                        Resident {
                            words: content,
                            watch: buffer.watch(),
                        },
                    );
                }
                Command::Dispatch(dispatch) => execute(&mut memory, dispatch)?,
                Command::Download(tensor) => downloads.push(read(&memory, tensor)?),
                Command::Free(buffer) => {
                    memory.remove(&buffer.id());
                }
            }
        }
        Ok(downloads)
    }

    fn prepare(&self, recording: &Recording) -> Result<Box<dyn Plan>, EngineError> {
        let (uploads, replayed) = split_uploads(recording)?;
        self.run(&uploads)?;
        Ok(Box::new(CpuPlan {
            engine: self.clone(),
            inputs: recording.inputs().to_vec(),
            replayed,
            _uploads: uploads,
        }))
    }
}

fn execute(memory: &mut Memory, dispatch: &Dispatch) -> Result<(), EngineError> {
    let launch = dispatch.launch.as_ref();
    for Binding {
        buffer,
        access,
        binding,
    } in &dispatch.bindings
    {
        if *access == Access::Write {
            let words = vec![0; (buffer.bytes() / 4) as usize];
            memory.entry(buffer.id()).or_insert_with(|| Resident {
                words,
                watch: buffer.watch(),
            });
        } else if !memory.contains_key(&buffer.id()) {
            let what = format!(
                "{} ({}), binding {binding}",
                launch.kernel(),
                launch.describe()
            );
            return Err(EngineError::Uninitialized { what });
        }
    }
    let mut operands = HostOperands::default();
    for binding in &dispatch.bindings {
        operands.insert(binding.binding, &memory[&binding.buffer.id()].words);
    }
    for output in launch.reference(&operands) {
        let bound = dispatch
            .bindings
            .iter()
            .find(|binding| binding.binding == output.binding);
        if let Some(resident) = bound.and_then(|binding| memory.get_mut(&binding.buffer.id())) {
            output.store(&mut resident.words);
        }
    }
    Ok(())
}

fn read(memory: &Memory, tensor: &Tensor) -> Result<HostTensor, EngineError> {
    let resident = memory.get(&tensor.buffer().id());
    let uninitialized = || EngineError::Uninitialized {
        what: "download".to_owned(),
    };
    Ok(tensor.to_host(&resident.ok_or_else(uninitialized)?.words)?)
}

struct CpuPlan {
    engine: CpuEngine,
    inputs: Vec<Tensor>,
    replayed: Recording,
    /// Keeps what was uploaded alive.
    _uploads: Recording,
}

impl Plan for CpuPlan {
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>, EngineError> {
        check_inputs(&self.inputs, inputs)?;
        let mut fill = Recording::new();
        for (tensor, host) in self.inputs.iter().zip(inputs) {
            fill.upload_words(tensor.buffer(), host.words())?;
        }
        self.engine.run(&fill)?;
        self.engine.run(&self.replayed)
    }

    fn intermediate_bytes(&self) -> u64 {
        0
    }
}
