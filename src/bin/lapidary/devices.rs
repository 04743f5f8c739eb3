//! `lapidary devices`: what is there and what will be used of it.

use lapidary::engine::gpu::{AdapterSummary, DeviceChoice, GpuEngine, GpuOptions, list_adapters};
use lapidary::tune::{Quarantined, Store};
use serde::Serialize;

use crate::options::{CommonOptions, Failure, INSTALL_HINT};
use crate::output::{bytes, print, print_json};
use crate::stores;

#[derive(Debug, Serialize)]
struct DeviceRow {
    index: usize,
    name: String,
    backend: String,
    driver: String,
    kind: &'static str,
    chosen_by_auto: bool,
    f16: bool,
    subgroups: bool,
    subgroup_sizes: (u32, u32),
    timestamps: bool,
    pipeline_cache: bool,
    max_buffer_bytes: u64,
    max_binding_bytes: u64,
    max_workgroup_bytes: u32,
    max_invocations: u32,
    max_workgroups: u32,
    max_storage_buffers: u32,
    storage_alignment: u32,
    uses: Vec<&'static str>,
    /// Shapes with a measured or pinned choice of variant.
    tuned_choices: usize,
    /// Variants found wrong here, which are never used.
    quarantined: Vec<Quarantined>,
}

pub fn run(common: &CommonOptions) -> Result<(), Failure> {
    let adapters = pollster::block_on(list_adapters());
    let auto = GpuEngine::choose_index(&DeviceChoice::Auto, &adapters);
    let sources = common.sources()?;
    let rows: Vec<DeviceRow> = adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let (_, store) = stores::open(adapter, &sources)?;
            Ok(row(index, adapter, auto == Some(index), &store))
        })
        .collect::<Result<_, Failure>>()?;
    if common.json {
        return print_json(&rows);
    }
    if rows.is_empty() {
        print("no GPU adapter; commands that can will use the CPU engine")?;
        eprintln!("{INSTALL_HINT}");
        return Ok(());
    }
    for row in &rows {
        print(&describe(row))?;
    }
    // Opening the device is the only proof that it works.
    let engine = GpuEngine::open(GpuOptions::default())?;
    print(&format!("--device auto: {}", engine.summary().line()))
}

fn row(index: usize, adapter: &AdapterSummary, chosen_by_auto: bool, store: &Store) -> DeviceRow {
    let capabilities = &adapter.capabilities;
    let mut uses = vec!["f32 arithmetic", "dot4I8Packed"];
    if capabilities.f16 {
        uses.push("f16 arithmetic where asked for");
    }
    if capabilities.subgroups {
        uses.push("subgroup reductions");
    }
    if capabilities.cooperative.any() {
        uses.push("cooperative matrices with --cooperative-matrix");
    }
    uses.push(if capabilities.software {
        "register tiles without barriers first"
    } else {
        "shared-memory tiles first"
    });
    uses.push(if adapter.timestamps {
        "GPU timestamps"
    } else {
        "wall clock (no timestamps)"
    });
    DeviceRow {
        index,
        name: adapter.name.clone(),
        backend: adapter.backend.clone(),
        driver: adapter.driver.clone(),
        kind: adapter.kind,
        chosen_by_auto,
        f16: capabilities.f16,
        subgroups: capabilities.subgroups,
        subgroup_sizes: capabilities.subgroup_sizes,
        timestamps: adapter.timestamps,
        pipeline_cache: adapter.pipeline_cache,
        max_buffer_bytes: capabilities.max_buffer_bytes,
        max_binding_bytes: capabilities.max_binding_bytes,
        max_workgroup_bytes: capabilities.max_workgroup_bytes,
        max_invocations: capabilities.max_invocations,
        max_workgroups: capabilities.max_workgroups,
        max_storage_buffers: capabilities.max_storage_buffers,
        storage_alignment: capabilities.storage_alignment,
        uses,
        tuned_choices: store.choices().count(),
        quarantined: store.quarantined().collect(),
    }
}

fn describe(row: &DeviceRow) -> String {
    let yes_no = |flag| if flag { "yes" } else { "no" };
    let (smallest, largest) = row.subgroup_sizes;
    let quarantined: String = row
        .quarantined
        .iter()
        .map(|one| format!("   quarantined: {} <- {}\n", one.variant, one.reason))
        .collect();
    format!(
        "{}: {} ({})\n   backend {}, driver {}\n   f16 {}, subgroups {} (size {smallest} to {largest}), timestamps {}, \
         pipeline cache {}\n   buffer {}, binding {}, workgroup memory {}, {} invocations, {} workgroups a dimension, \
         {} storage buffers, offset alignment {}\n   uses: {}\n   tuned choices: {}\n{quarantined}",
        row.index,
        row.name,
        row.kind,
        row.backend,
        row.driver,
        yes_no(row.f16),
        yes_no(row.subgroups),
        yes_no(row.timestamps),
        yes_no(row.pipeline_cache),
        bytes(row.max_buffer_bytes),
        bytes(row.max_binding_bytes),
        bytes(row.max_workgroup_bytes.into()),
        row.max_invocations,
        row.max_workgroups,
        row.max_storage_buffers,
        row.storage_alignment,
        row.uses.join(", "),
        row.tuned_choices,
    )
}
