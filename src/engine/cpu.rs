//! The CPU engine: every dispatch runs its kernel's reference, which defines what the others must match, or,
//! where speed is asked for, what the kernel has for a host's cores.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::record::{
    Access, Binding, BufferId, Command, Dispatch, HostOperands, HostResults, Recording, Tensor,
    Watch,
};
use crate::tensor::HostTensor;

use super::{Engine, EngineError, Plan, check_inputs, split_uploads};

#[derive(Debug)]
struct Resident {
    words: Vec<u32>,
    watch: Watch,
}

type Memory = BTreeMap<BufferId, Resident>;

/// Runs recordings on the host.
#[derive(Debug, Clone, Default)]
pub struct CpuEngine {
    memory: Arc<Mutex<Memory>>,
    is_fast: bool,
}

impl CpuEngine {
    /// An engine with empty memory that runs the kernels' references.
    pub fn new() -> Self {
        Self::default()
    }

    /// An engine with empty memory that runs what kernels have for a host's cores, in f32, and the references of
    /// those that have nothing. Results have the same bits on any number of threads.
    pub fn fast() -> Self {
        Self {
            is_fast: true,
            ..Self::default()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for CpuEngine {
    fn name(&self) -> String {
        if self.is_fast {
            format!("cpu ({} threads)", rayon::current_num_threads())
        } else {
            "cpu (reference)".to_owned()
        }
    }

    fn is_in_host_memory(&self) -> bool {
        true
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
                Command::Dispatch(dispatch) => {
                    allocate(&mut memory, dispatch)?;
                    if !(self.is_fast && compute(&mut memory, dispatch)) {
                        define(&mut memory, dispatch);
                    }
                }
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

/// Makes memory for what is written first, and refuses to read what never was.
fn allocate(memory: &mut Memory, dispatch: &Dispatch) -> Result<(), EngineError> {
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
    Ok(())
}

/// Runs what the kernel has for the host's cores, if anything.
fn compute(memory: &mut Memory, dispatch: &Dispatch) -> bool {
    let is_written = |binding: &&Binding| binding.access != Access::Read;
    let written = dispatch.bindings.iter().filter(is_written);
    // No other binding shares a buffer that is written.
    let mut taken: Vec<(&Binding, Vec<u32>)> = written
        .filter_map(|binding| {
            let resident = memory.get_mut(&binding.buffer.id())?;
            Some((binding, std::mem::take(&mut resident.words)))
        })
        .collect();
    let mut operands = HostOperands::default();
    for binding in &dispatch.bindings {
        if binding.access == Access::Read {
            operands.insert(binding.binding, &memory[&binding.buffer.id()].words);
        }
    }
    let mut results = HostResults::default();
    for (binding, words) in &mut taken {
        results.insert(binding.binding, words);
    }
    let is_done = dispatch.launch.fast(&operands, &mut results);
    for (binding, words) in taken {
        if let Some(resident) = memory.get_mut(&binding.buffer.id()) {
            resident.words = words;
        }
    }
    is_done
}

/// Runs the kernel's reference.
fn define(memory: &mut Memory, dispatch: &Dispatch) {
    let launch = dispatch.launch.as_ref();
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
