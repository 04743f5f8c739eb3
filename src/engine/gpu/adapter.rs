//! Which adapters there are, which one a user means, and what it can do.

use wgpu::{
    Adapter, Backends, CooperativeMatrixProperties, CooperativeScalarType, DeviceType, Features,
    Instance, InstanceDescriptor, Limits,
};

use crate::engine::EngineError;
use crate::shader::{Capabilities, CooperativeTiles};

/// llvmpipe leaves all loops of an invocation, without a word, after this many iterations in total
/// (`LP_MAX_TGSI_LOOP_ITERATIONS` in Mesa). Seen here: a sum over 600,000 elements in steps of 8 stops at
/// element 524,280.
const LLVMPIPE_LOOPS: u64 = 65_535;

/// What a user asked for with `--device`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceChoice {
    /// Hardware first (discrete, then integrated), else a software adapter.
    Auto,
    /// By position in the list of `devices`.
    Index(usize),
    /// By part of the adapter's or driver's name, letter case ignored.
    Name(String),
}

/// One adapter as the system reports it.
#[derive(Debug, Clone)]
pub struct AdapterSummary {
    /// Adapter name, for example `llvmpipe (LLVM 15.0.6, 256 bits)`.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    /// Limits and features kernels care about.
    pub capabilities: Capabilities,
    /// GPU timestamps are offered.
    pub timestamps: bool,
    /// A driver-side pipeline cache is offered.
    pub pipeline_cache: bool,
    /// Key under which pipeline cache data may be kept, where the backend has one.
    pub pipeline_cache_key: Option<String>,
}

impl AdapterSummary {
    /// One line for reports.
    pub fn line(&self) -> String {
        format!(
            "{} | {} | {} | {}",
            self.name, self.driver, self.backend, self.kind
        )
    }
}

pub(super) fn instance() -> Instance {
    let mut descriptor = InstanceDescriptor::new_without_display_handle();
    descriptor.backends = Backends::VULKAN | Backends::METAL | Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    Instance::new(descriptor)
}

/// Adapters in the system's order, each with what Lapidary can use of it.
pub async fn list_adapters() -> Vec<AdapterSummary> {
    adapters().await.iter().map(summarize).collect()
}

pub(super) async fn adapters() -> Vec<Adapter> {
    instance().enumerate_adapters(Backends::all()).await
}

pub(super) async fn choose(choice: &DeviceChoice) -> Result<Adapter, EngineError> {
    let adapters = adapters().await;
    let summaries: Vec<AdapterSummary> = adapters.iter().map(summarize).collect();
    let index = choose_index(choice, &summaries);
    index
        .and_then(|index| adapters.into_iter().nth(index))
        .ok_or_else(|| EngineError::NoAdapter {
            wanted: match choice {
                DeviceChoice::Auto => "any adapter".to_owned(),
                DeviceChoice::Index(index) => format!("adapter {index}"),
                DeviceChoice::Name(part) => part.clone(),
            },
            found: match summaries.as_slice() {
                [] => "none".to_owned(),
                some => some
                    .iter()
                    .map(|one| one.name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        })
}

/// The first of the most preferred kind, the one at an index, or the first whose name or driver matches.
pub(super) fn choose_index(choice: &DeviceChoice, adapters: &[AdapterSummary]) -> Option<usize> {
    match choice {
        DeviceChoice::Auto => (0..adapters.len()).min_by_key(|&index| preference(&adapters[index])),
        DeviceChoice::Index(index) => Some(*index).filter(|&index| index < adapters.len()),
        DeviceChoice::Name(part) => {
            let part = part.to_lowercase();
            let matches = |text: &str| text.to_lowercase().contains(&part);
            adapters
                .iter()
                .position(|one| matches(&one.name) || matches(&one.driver))
        }
    }
}

/// Discrete before integrated before the rest; among software adapters the one with f16 first.
fn preference(adapter: &AdapterSummary) -> (u8, bool) {
    let kind = match adapter.kind {
        "discrete" => 0,
        "integrated" => 1,
        "virtual" => 2,
        "other" => 3,
        _ => 4,
    };
    (kind, !adapter.capabilities.f16)
}

pub(super) fn summarize(adapter: &Adapter) -> AdapterSummary {
    let info = adapter.get_info();
    let features = adapter.features();
    let kind = match info.device_type {
        DeviceType::DiscreteGpu => "discrete",
        DeviceType::IntegratedGpu => "integrated",
        DeviceType::VirtualGpu => "virtual",
        DeviceType::Cpu => "software",
        DeviceType::Other => "other",
    };
    AdapterSummary {
        backend: info.backend.to_str().to_owned(),
        driver: format!("{} {}", info.driver, info.driver_info)
            .trim()
            .to_owned(),
        kind,
        capabilities: capabilities(adapter, features, &adapter.limits()),
        timestamps: features.contains(Features::TIMESTAMP_QUERY),
        pipeline_cache: features.contains(Features::PIPELINE_CACHE),
        pipeline_cache_key: wgpu::util::pipeline_cache_key(&info),
        name: info.name,
    }
}

pub(super) fn capabilities(adapter: &Adapter, features: Features, limits: &Limits) -> Capabilities {
    let info = adapter.get_info();
    Capabilities {
        f16: features.contains(Features::SHADER_F16),
        subgroups: features.contains(Features::SUBGROUP),
        subgroup_sizes: (info.subgroup_min_size, info.subgroup_max_size),
        cooperative: if features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            cooperative_tiles(&adapter.cooperative_matrix_properties())
        } else {
            CooperativeTiles::NONE
        },
        software: info.device_type == DeviceType::Cpu,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        max_workgroup_bytes: limits.max_compute_workgroup_storage_size,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        storage_alignment: limits.min_storage_buffer_offset_alignment,
        max_loop_iterations: if info.driver == "llvmpipe" {
            LLVMPIPE_LOOPS
        } else {
            u64::MAX
        },
    }
}
/// The square tiles with sums in f32 among what a driver offers.
fn cooperative_tiles(offered: &[CooperativeMatrixProperties]) -> CooperativeTiles {
    let has = |size: u32, operands: CooperativeScalarType| {
        offered.iter().any(|one| {
            [one.m_size, one.n_size, one.k_size] == [size; 3]
                && one.ab_type == operands
                && one.cr_type == CooperativeScalarType::F32
        })
    };
    CooperativeTiles {
        f32_8: has(8, CooperativeScalarType::F32),
        f16_8: has(8, CooperativeScalarType::F16),
        f16_16: has(16, CooperativeScalarType::F16),
    }
}
