//! The GPU engine: the only place that names the GPU API.

mod adapter;
mod device;
mod encode;
mod lower;
mod memory;
mod pipelines;
mod plan;
mod readback;
mod timing;
mod uniforms;

pub use adapter::{AdapterSummary, DeviceChoice, list_adapters};
pub use timing::DispatchTime;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::engine::{Choices, Engine, EngineError, MemoryLimits, Plan};
use crate::record::{Access, BufferId, Build, Command, Dispatch, Recording};
use crate::shader::{Capabilities, Sources};
use crate::tensor::HostTensor;

use device::OpenDevice;
use encode::{Encoding, Ready, bind};
use lower::{Step, lower};
use memory::Memory;
use pipelines::{Pipelines, Request};
use plan::{GpuPlan, dispatch_buffers};
use readback::{Staging, collect};
use uniforms::RunUniforms;

/// How to open a GPU engine.
#[derive(Debug, Clone)]
pub struct GpuOptions {
    /// Which adapter.
    pub device: DeviceChoice,
    /// Shader files; anything but the embedded ones always keeps runtime checks.
    pub sources: Sources,
    /// Bytes the engine may allocate on the device; `None` leaves it to the driver.
    pub memory_budget: Option<u64>,
    /// Operations plus bytes of one submit before the next one starts, for watchdogs; `None` is one
    /// submit a run.
    pub submit_budget: Option<f64>,
    /// Ask for a smaller storage binding than the adapter offers, bytes.
    pub max_binding_bytes: Option<u64>,
    /// Ask for smaller buffers than the adapter offers, bytes.
    pub max_buffer_bytes: Option<u64>,
    /// Ask for fewer workgroups a dimension than the adapter offers.
    pub max_workgroups: Option<u32>,
    /// Ask for less workgroup memory than the adapter offers, bytes.
    pub max_workgroup_bytes: Option<u32>,
    /// Do without half-precision arithmetic.
    pub without_f16: bool,
    /// Do without subgroup operations.
    pub without_subgroups: bool,
    /// Use cooperative matrices where the adapter has them. wgpu calls them experimental: a defect there
    /// or in the driver may crash the process, and no adapter we could test on has them.
    pub cooperative_matrix: bool,
    /// Driver cache from [`GpuEngine::pipeline_cache_data`] of the same adapter.
    pub pipeline_cache: Option<Vec<u8>>,
}

impl Default for GpuOptions {
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            sources: Sources::embedded(),
            memory_budget: None,
            submit_budget: None,
            max_binding_bytes: None,
            max_buffer_bytes: None,
            max_workgroups: None,
            max_workgroup_bytes: None,
            without_f16: false,
            without_subgroups: false,
            cooperative_matrix: false,
            pipeline_cache: None,
        }
    }
}

/// What an engine has done so far. A plan's replay moves only `submits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Device buffers created.
    pub buffers: u64,
    /// Pipelines compiled.
    pub pipelines: u64,
    /// Bind groups created.
    pub bind_groups: u64,
    /// Command buffers submitted.
    pub submits: u64,
    /// Device bytes held now, pool included.
    pub allocated_bytes: u64,
    /// The most that was held at a time.
    pub peak_bytes: u64,
}

#[derive(Debug, Default)]
struct AtomicCounters {
    bind_groups: AtomicU64,
    submits: AtomicU64,
}

/// Shared by the engine and its plans.
struct Shared {
    open: OpenDevice,
    state: Mutex<State>,
    sources: Sources,
    choices: RwLock<Choices>,
    submit_budget: Option<f64>,
    counters: AtomicCounters,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How shaders are built when a dispatch does not say.
    fn build(&self) -> Build {
        if self.sources.is_embedded() {
            Build::Trusted
        } else {
            Build::Checked
        }
    }

    fn choices(&self) -> Choices {
        self.choices
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct State {
    memory: Memory,
    pipelines: Pipelines,
    uniforms: RunUniforms,
}

/// Runs recordings on one adapter.
pub struct GpuEngine {
    shared: Arc<Shared>,
}

impl fmt::Debug for GpuEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GpuEngine({})", self.summary().line())
    }
}

impl GpuEngine {
    /// Opens an adapter and waits for it.
    ///
    /// # Errors
    /// [`EngineError::NoAdapter`] or [`EngineError::DeviceRequest`].
    pub fn open(options: GpuOptions) -> Result<Self, EngineError> {
        pollster::block_on(Self::open_async(options))
    }

    /// Opens an adapter.
    ///
    /// # Errors
    /// As [`GpuEngine::open`].
    pub async fn open_async(options: GpuOptions) -> Result<Self, EngineError> {
        let open = OpenDevice::open(&options).await?;
        let state = State {
            memory: Memory::with_budget(options.memory_budget),
            pipelines: Pipelines::new(&open, options.pipeline_cache.as_deref()),
            uniforms: RunUniforms::default(),
        };
        let shared = Shared {
            open,
            state: Mutex::new(state),
            sources: options.sources,
            choices: RwLock::default(),
            submit_budget: options.submit_budget,
            counters: AtomicCounters::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Position of the adapter that a choice means, in a list from [`list_adapters`].
    pub fn choose_index(choice: &DeviceChoice, adapters: &[AdapterSummary]) -> Option<usize> {
        adapter::choose_index(choice, adapters)
    }

    /// Adapter, driver, limits and features in use.
    pub fn summary(&self) -> &AdapterSummary {
        &self.shared.open.summary
    }

    /// Limits and features in use.
    pub fn capabilities(&self) -> &Capabilities {
        self.shared.open.capabilities()
    }

    /// Replaces the table of chosen variants.
    pub fn set_choices(&self, choices: Choices) {
        *self
            .shared
            .choices
            .write()
            .unwrap_or_else(PoisonError::into_inner) = choices;
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        let state = self.shared.lock();
        Counters {
            buffers: state.memory.created(),
            pipelines: state.pipelines.count(),
            bind_groups: self.shared.counters.bind_groups.load(Ordering::Relaxed),
            submits: self.shared.counters.submits.load(Ordering::Relaxed),
            allocated_bytes: state.memory.allocated(),
            peak_bytes: state.memory.peak(),
        }
    }

    /// The driver's pipeline cache, where it keeps one. Store it under the summary's cache key.
    pub fn pipeline_cache_data(&self) -> Option<Vec<u8>> {
        self.shared.lock().pipelines.cache_data()
    }

    /// Returns unused device memory to the driver.
    pub fn release_unused(&self) {
        let mut state = self.shared.lock();
        state.memory.sweep();
        state.memory.drop_pool();
    }

    /// Waits until everything submitted so far is done.
    ///
    /// # Errors
    /// What went wrong since the last call.
    pub fn wait(&self) -> Result<(), EngineError> {
        let open = &self.shared.open;
        open.check()?;
        let polled = open.device.poll(wgpu::PollType::wait_indefinitely());
        open.check()?;
        polled
            .map(|_| ())
            .map_err(|error| open.driver_error(error.to_string()))
    }

    /// Gives up the device. Every later call on this engine and its plans reports it as lost.
    pub fn destroy(&self) {
        self.shared.open.destroy();
    }

    /// As [`Engine::run`], for callers with an executor of their own.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub async fn run_async(&self, recording: &Recording) -> Result<Vec<HostTensor>, EngineError> {
        let staging = self.submit(recording)?;
        collect(&self.shared.open, &staging).await
    }

    /// Encodes and submits a recording; the returned staging buffers will hold the downloads.
    fn submit(&self, recording: &Recording) -> Result<Vec<Staging>, EngineError> {
        self.shared.open.check()?;
        let mut state = self.shared.lock();
        state.memory.sweep();
        let mut made = Vec::new();
        let result = self.encode(&mut state, recording, &mut made);
        if result.is_err() {
            // What a failed run made holds nothing that anybody asked for.
            for id in made {
                state.memory.release(id);
            }
        }
        result
    }

    /// Encodes and submits; `made` lists the buffers that did not exist before.
    fn encode(
        &self,
        state: &mut State,
        recording: &Recording,
        made: &mut Vec<BufferId>,
    ) -> Result<Vec<Staging>, EngineError> {
        let open = &self.shared.open;
        let choices = self.shared.choices();
        let mut steps: Vec<Step> = Vec::new();
        let mut counts = Vec::new();
        for dispatch in recording.dispatches() {
            let lowered = lower(dispatch, &choices, open.capabilities(), self.shared.build())?;
            counts.push(lowered.len());
            steps.extend(lowered);
        }
        let requests: Vec<Request> = steps.iter().map(|step| step.request.clone()).collect();
        let pipelines = state
            .pipelines
            .get_all(open, &self.shared.sources, &requests)?;
        let uniforms = state
            .uniforms
            .write(open, &steps.iter().collect::<Vec<_>>())?;

        let mut encoding = Encoding::new(open, self.shared.submit_budget);
        let mut touched: BTreeSet<BufferId> = BTreeSet::new();
        let mut freed = false;
        let mut staging = Vec::new();
        let mut counts = counts.into_iter();
        let mut next = 0;
        for command in recording.commands() {
            match command {
                Command::Upload { buffer, words } => {
                    // Queue writes happen before the next submit, so earlier uses of the same memory
                    // (this buffer, or a freed one whose memory it may take over) must go first.
                    if freed || touched.contains(&buffer.id()) {
                        open.scoped(|| Ok(encoding.submit()))?;
                        touched.clear();
                        freed = false;
                    }
                    if state.memory.get(buffer).is_none() {
                        made.push(buffer.id());
                    }
                    state.memory.fill(open, buffer, words)?;
                }
                Command::Dispatch(dispatch) => {
                    made.extend(prepare_buffers(open, &mut state.memory, dispatch)?);
                    let memory = &state.memory;
                    let buffers = dispatch_buffers(dispatch, |buffer| memory.get(buffer).cloned())?;
                    touched.extend(dispatch.bindings.iter().map(|binding| binding.buffer.id()));
                    for _ in 0..counts.next().unwrap_or(0) {
                        let slice = (&uniforms.buffer, uniforms.offset(next));
                        open.scoped(|| {
                            let ready: Ready =
                                bind(open, &steps[next], &pipelines[next], slice, |binding| {
                                    buffers[&binding].clone()
                                });
                            encoding.dispatch(&ready);
                            Ok(())
                        })?;
                        self.shared
                            .counters
                            .bind_groups
                            .fetch_add(1, Ordering::Relaxed);
                        next += 1;
                    }
                }
                Command::Download(tensor) => {
                    let source = state.memory.get(tensor.buffer());
                    let uninitialized = || EngineError::Uninitialized {
                        what: "download".to_owned(),
                    };
                    let source = source.ok_or_else(uninitialized)?;
                    let one = Staging::new(open, tensor)?;
                    encoding.copy(source, &one.buffer, one.buffer.size());
                    touched.insert(tensor.buffer().id());
                    staging.push(one);
                }
                Command::Free(buffer) => {
                    state.memory.release(buffer.id());
                    freed = true;
                }
            }
        }
        let submits = open.scoped(|| Ok(encoding.submit()))?;
        self.shared
            .counters
            .submits
            .fetch_add(submits, Ordering::Relaxed);
        Ok(staging)
    }
}

/// Makes sure that every buffer a dispatch writes exists and returns those that did not; what is read
/// must have been filled before.
fn prepare_buffers(
    open: &OpenDevice,
    memory: &mut Memory,
    dispatch: &Dispatch,
) -> Result<Vec<BufferId>, EngineError> {
    let mut made = Vec::new();
    for binding in &dispatch.bindings {
        if binding.access == Access::Write && memory.get(&binding.buffer).is_none() {
            memory.ensure(open, &binding.buffer)?;
            made.push(binding.buffer.id());
        }
    }
    Ok(made)
}

impl Engine for GpuEngine {
    fn name(&self) -> String {
        self.summary().line()
    }

    fn device_bytes(&self) -> Option<u64> {
        Some(self.counters().allocated_bytes)
    }

    fn peak_device_bytes(&self) -> Option<u64> {
        Some(self.counters().peak_bytes)
    }

    fn submissions(&self) -> Option<u64> {
        Some(self.counters().submits)
    }

    fn is_in_host_memory(&self) -> bool {
        self.summary().capabilities.software
    }

    fn memory_limits(&self) -> MemoryLimits {
        MemoryLimits {
            free: self.shared.lock().memory.free(),
            buffer: Some(self.shared.open.device.limits().max_buffer_size),
        }
    }

    fn dispatch_times(&self, recording: &Recording) -> Result<Vec<(usize, f64)>, EngineError> {
        let times = self.time_dispatches(recording)?;
        let times = times
            .into_iter()
            .map(|one| Some((one.index, one.nanoseconds?)));
        // With one time missing, sums would be wrong.
        Ok(times.collect::<Option<_>>().unwrap_or_default())
    }

    fn run(&self, recording: &Recording) -> Result<Vec<HostTensor>, EngineError> {
        pollster::block_on(self.run_async(recording))
    }

    fn prepare(&self, recording: &Recording) -> Result<Box<dyn Plan>, EngineError> {
        self.shared.open.check()?;
        Ok(Box::new(GpuPlan::new(&self.shared, recording)?))
    }
}
