//! Every kernel's largest case on the adapter: `cargo bench --bench kernels [-- FILTER]`.
//!
//! Each sample replays a plan of eight dispatches of the kernel's first-guess variant and waits for it, so
//! it is wall time with one submit and one wait in it. Bytes are what must move at least once;
//! an item is one multiply or add, so `Gitem/s` is GFLOP/s (GOP/s for integer kernels).
//! `LAPIDARY_DEVICE` chooses the adapter by part of its name.

use std::sync::{Arc, OnceLock};

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use lapidary::engine::gpu::{DeviceChoice, GpuOptions};
use lapidary::engine::{Engine, GpuEngine, Plan};
use lapidary::kernels::{Case, Effort, REGISTRY};
use lapidary::record::{Access, Buffer, Cost, Recording};

const DISPATCHES: usize = 8;

fn main() {
    println!("adapter: {}", engine().name());
    divan::main();
}

fn engine() -> &'static GpuEngine {
    static ENGINE: OnceLock<GpuEngine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let device =
            std::env::var("LAPIDARY_DEVICE").map_or(DeviceChoice::Auto, DeviceChoice::Name);
        GpuEngine::open(GpuOptions {
            device,
            ..GpuOptions::default()
        })
        .unwrap_or_else(|error| {
            panic!("{error}\na software adapter will do: apt-get install -y mesa-vulkan-drivers")
        })
    })
}

/// The case of each kernel with the most work.
fn cases() -> impl Iterator<Item = String> {
    REGISTRY.iter().map(|kernel| kernel.name.to_owned())
}

fn largest(kernel: &str) -> Case {
    let kernel = REGISTRY
        .iter()
        .find(|one| one.name == kernel)
        .expect("names come from the registry");
    let work = |cost: Cost| cost.operations + cost.bytes;
    (kernel.cases)(Effort::Full)
        .into_iter()
        .max_by(|a, b| work(a.launch.cost()).total_cmp(&work(b.launch.cost())))
        .expect("every kernel has cases")
}

#[divan::bench(args = cases(), sample_count = 20, min_time = 0.2)]
fn kernels(bencher: Bencher<'_, '_>, kernel: &str) {
    let case = largest(kernel);
    let plan = repeated(&case, DISPATCHES);
    let cost = case.launch.cost();
    let times = DISPATCHES as f64;
    bencher
        .counter(BytesCount::new((cost.bytes * times) as u64))
        .counter(ItemsCount::new((cost.operations * times) as u64))
        .bench_local(|| {
            plan.run(&[]).expect("replays");
            engine().wait().expect("waits");
        });
}

/// Host cost of a replay: dispatches of next to no work, encoded and submitted but not waited for. An
/// item is a dispatch.
#[divan::bench(sample_count = 50, sample_size = 1)]
fn replay_host_time(bencher: Bencher<'_, '_>) {
    const LENGTH: usize = 1000;
    let kernel = REGISTRY
        .iter()
        .find(|one| one.name == "cast")
        .expect("cast is registered");
    let work = |case: &Case| case.launch.cost().bytes;
    let case = (kernel.cases)(Effort::Quick)
        .into_iter()
        .min_by(|a, b| work(a).total_cmp(&work(b)))
        .expect("every kernel has cases");
    let plan = repeated(&case, LENGTH);
    bencher
        .counter(ItemsCount::new(LENGTH))
        .with_inputs(|| engine().wait().expect("waits"))
        .bench_local_values(|()| plan.run(&[]).expect("replays"));
}

/// A plan that runs a case's launch several times on the same operands.
fn repeated(case: &Case, times: usize) -> Box<dyn Plan> {
    let mut recording = Recording::new();
    let mut buffers: Vec<(u32, Buffer)> = Vec::new();
    for slot in case.launch.slots() {
        let buffer = Buffer::new(slot.bytes);
        if slot.access != Access::Write {
            let given = case
                .operands
                .iter()
                .find(|(binding, _)| *binding == slot.binding);
            let words = given.map_or_else(
                || vec![0; slot.bytes.div_ceil(4) as usize],
                |(_, words)| words.clone(),
            );
            recording.upload_words(&buffer, words).expect("fits");
        }
        buffers.push((slot.binding, buffer));
    }
    let bound: Vec<(u32, &Buffer)> = buffers
        .iter()
        .map(|(binding, buffer)| (*binding, buffer))
        .collect();
    for _ in 0..times {
        recording
            .dispatch(Arc::clone(&case.launch), &bound)
            .expect("the case fits its own slots");
    }
    engine().prepare(&recording).expect("prepares")
}
