//! Compute pipelines by variant, compiled once, several at a time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use wgpu::{
    BindGroupLayout, BindGroupLayoutDescriptor, BindGroupLayoutEntry, BindingType,
    BufferBindingType, ComputePipeline, ComputePipelineDescriptor, Features, PipelineCache,
    PipelineCacheDescriptor, PipelineCompilationOptions, PipelineLayoutDescriptor,
    ShaderModuleDescriptor, ShaderSource, ShaderStages,
};

use crate::engine::EngineError;
use crate::record::{Access, Build, Launch};
use crate::shader::{Edit, Sources, Target, Variant, check, link};

use super::device::OpenDevice;

/// A compiled shader and the layout its bind groups need.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub pipeline: ComputePipeline,
    pub layout: BindGroupLayout,
}

/// What has to be compiled for one dispatch.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub variant: Variant,
    pub edits: Vec<Edit>,
    pub build: Build,
    /// Binding number and whether it is written.
    pub slots: Vec<(u32, bool)>,
}

impl Request {
    pub fn new(launch: &dyn Launch, variant: Variant, edits: Vec<Edit>, build: Build) -> Self {
        let slots = launch
            .slots()
            .iter()
            .map(|slot| (slot.binding, slot.access != Access::Read))
            .collect();
        Self {
            variant,
            edits,
            build,
            slots,
        }
    }

    pub fn key(&self) -> String {
        let edits: Vec<&str> = self.edits.iter().map(|edit| edit.name).collect();
        format!(
            "{} {:?} edits={}",
            self.variant,
            self.build,
            edits.join("+")
        )
    }
}

/// All pipelines of one device.
#[derive(Debug)]
pub(super) struct Pipelines {
    compiled: BTreeMap<String, Arc<Pipeline>>,
    cache: Option<PipelineCache>,
    count: u64,
}

impl Pipelines {
    #[expect(unsafe_code, reason = "the API marks restoring a driver cache unsafe")]
    pub fn new(open: &OpenDevice, data: Option<&[u8]>) -> Self {
        let cache = open.features.contains(Features::PIPELINE_CACHE).then(|| {
            let descriptor = PipelineCacheDescriptor {
                label: Some("lapidary"),
                data,
                fallback: true,
            };
            // SAFETY: the caller of `GpuOptions::pipeline_cache` promises data from `pipeline_cache_data`
            // of the same adapter key; the header is validated and `fallback` discards foreign data.
            unsafe { open.device.create_pipeline_cache(&descriptor) }
        });
        Self {
            compiled: BTreeMap::new(),
            cache,
            count: 0,
        }
    }

    /// Pipelines compiled so far, for the counters.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The driver's cache, to be kept under the adapter's cache key.
    pub fn cache_data(&self) -> Option<Vec<u8>> {
        self.cache.as_ref().and_then(PipelineCache::get_data)
    }

    /// Pipelines for all requests, compiling in parallel what is missing.
    pub fn get_all(
        &mut self,
        open: &OpenDevice,
        sources: &Sources,
        requests: &[Request],
    ) -> Result<Vec<Arc<Pipeline>>, EngineError> {
        let mut missing: BTreeMap<String, &Request> = BTreeMap::new();
        for request in requests {
            let key = request.key();
            if !self.compiled.contains_key(&key) {
                missing.insert(key, request);
            }
        }
        let missing: Vec<(String, &Request)> = missing.into_iter().collect();
        let built = compile_all(open, sources, &missing, self.cache.as_ref())?;
        self.count += built.len() as u64;
        self.compiled.extend(
            built
                .into_iter()
                .map(|(key, pipeline)| (key, Arc::new(pipeline))),
        );
        Ok(requests
            .iter()
            .map(|request| Arc::clone(&self.compiled[&request.key()]))
            .collect())
    }
}

/// Compiles on as many threads as there are cores. Plain threads, because the caller holds the engine's
/// lock, and a work-stealing pool could run another job that waits for it.
fn compile_all(
    open: &OpenDevice,
    sources: &Sources,
    missing: &[(String, &Request)],
    cache: Option<&PipelineCache>,
) -> Result<Vec<(String, Pipeline)>, EngineError> {
    let build = |index: usize| {
        let (key, request) = &missing[index];
        compile(open, sources, request, cache).map(|pipeline| (key.clone(), pipeline))
    };
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(missing.len());
    if workers <= 1 {
        return (0..missing.len()).map(build).collect();
    }
    let next = AtomicUsize::new(0);
    let built = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= missing.len() {
                        break;
                    }
                    let one = build(index);
                    built
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, one));
                }
            });
        }
    });
    let mut built = built.into_inner().unwrap_or_else(PoisonError::into_inner);
    built.sort_by_key(|(index, _)| *index);
    built.into_iter().map(|(_, one)| one).collect()
}

fn compile(
    open: &OpenDevice,
    sources: &Sources,
    request: &Request,
    cache: Option<&PipelineCache>,
) -> Result<Pipeline, EngineError> {
    let linked = link(sources, &request.variant, &request.edits, Target::Native)?;
    check(&linked, &request.variant, open.capabilities())?;
    let label = request.variant.to_string();
    open.scoped(|| {
        let mut entries = vec![layout_entry(0, BufferBindingType::Uniform)];
        for &(binding, writable) in &request.slots {
            entries.push(layout_entry(
                binding,
                BufferBindingType::Storage {
                    read_only: !writable,
                },
            ));
        }
        let layout = open
            .device
            .create_bind_group_layout(&BindGroupLayoutDescriptor {
                label: Some(&label),
                entries: &entries,
            });
        let pipeline_layout = open
            .device
            .create_pipeline_layout(&PipelineLayoutDescriptor {
                label: Some(&label),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
        // Our own shaders run without checks: slots are sized and buffers checked when a dispatch is
        // recorded, and `verify` proves the checked build gives equal bits. Foreign text never does.
        let trusted =
            request.build == Build::Trusted && request.edits.is_empty() && sources.is_embedded();
        let module = shader_module(open, &label, linked.wgsl, trusted);
        // Zeroing shared memory hides a missing barrier; on Metal it also hides a miscompile.
        let zeroed = !trusted || open.summary.backend == "metal";
        let pipeline = open
            .device
            .create_compute_pipeline(&ComputePipelineDescriptor {
                label: Some(&label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: PipelineCompilationOptions {
                    zero_initialize_workgroup_memory: zeroed,
                    ..Default::default()
                },
                cache,
            });
        Ok(Pipeline { pipeline, layout })
    })
}

#[expect(
    unsafe_code,
    reason = "the API marks building without runtime checks unsafe"
)]
fn shader_module(
    open: &OpenDevice,
    label: &str,
    wgsl: String,
    trusted: bool,
) -> wgpu::ShaderModule {
    let descriptor = ShaderModuleDescriptor {
        label: Some(label),
        source: ShaderSource::Wgsl(wgsl.into()),
    };
    if trusted {
        // SAFETY: only embedded shaders reach this; their index ranges follow from shapes that were
        // checked against the buffers' sizes, and their loops are bounded by those shapes.
        unsafe {
            open.device
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    } else {
        open.device.create_shader_module(descriptor)
    }
}

const fn layout_entry(binding: u32, ty: BufferBindingType) -> BindGroupLayoutEntry {
    BindGroupLayoutEntry {
        binding,
        visibility: ShaderStages::COMPUTE,
        ty: BindingType::Buffer {
            ty,
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
