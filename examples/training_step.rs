//! Where the time of a training step goes: its median over whole steps, then each kernel by the adapter's
//! timestamps, the slowest first.
//!
//! `cargo run --release --example training_step [mlp|deep|cnn|mobilenet] [f32|f16|bf16] [STEPS]`

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

use lapidary::data::Batch;
use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{Engine, GpuEngine};
use lapidary::kernels::FloatType;
use lapidary::models::{Mlp, Network, cnn, mobilenet};
use lapidary::num::Philox;
use lapidary::num::optim::{Convention, Optimizer};
use lapidary::ops::nn::Curve;
use lapidary::train::{Start, TrainOptions, Trainer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |at: usize, default| arguments.get(at).map_or(default, String::as_str);
    let image = [1, 28, 28];
    let network: Box<dyn Network> = match given(0, "mlp") {
        "mlp" => Box::new(Mlp::new(&image, &[256], 10, Curve::Relu)?),
        "deep" => Box::new(Mlp::new(&image, &[256, 128], 10, Curve::Relu)?),
        "cnn" => Box::new(cnn(&image, 10)?),
        "mobilenet" => Box::new(mobilenet(&image, 10, 0.5)?),
        other => return Err(format!("no network `{other}`").into()),
    };
    let precision = match given(1, "f32") {
        "f32" => FloatType::F32,
        "f16" => FloatType::F16,
        "bf16" => FloatType::Bf16,
        other => return Err(format!("no precision `{other}`").into()),
    };
    let n_steps: usize = given(2, "50").parse()?;

    let options = TrainOptions {
        precision,
        ..TrainOptions::new(Optimizer::named("adam", Convention::PyTorch)?)
    };
    let n = options.batch_size;
    let mut stream = Philox::new(1).stream(0);
    let batch = Batch {
        inputs: (0..n * 784).map(|_| stream.normal()).collect(),
        labels: (0..n as u32).map(|index| index % 10).collect(),
        rows: (0..n as u32).collect(),
        n_counted: n,
    };
    let engine = GpuEngine::open(GpuOptions::default())?;
    let begin = Instant::now();
    let mut trainer = Trainer::new(&engine, network.as_ref(), options, Start::Seed)?;
    trainer.step(&batch)?;
    let first = begin.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for _ in 0..n_steps {
        let begin = Instant::now();
        trainer.step(&batch)?;
        times.push(1e3 * begin.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(0.0);
    println!(
        "{} in {precision}: {:.2} ms a step (p10 {:.2}, p90 {:.2}), first step after {first:.2} s",
        network.describe(),
        at(50),
        at(10),
        at(90)
    );

    let recording = trainer.recording(&batch)?;
    engine.run(&recording)?;
    let mut best: BTreeMap<(usize, String), f64> = BTreeMap::new();
    for _ in 0..n_steps.clamp(1, 20) {
        for time in engine.time_dispatches(&recording)? {
            let Some(nanoseconds) = time.nanoseconds else {
                return Err("the adapter has no timestamps".into());
            };
            let kept = best.entry((time.index, time.variant)).or_insert(f64::MAX);
            *kept = kept.min(nanoseconds);
        }
    }
    let launches: Vec<String> = recording
        .dispatches()
        .map(|one| one.launch.describe())
        .collect();
    let total: f64 = best.values().sum();
    println!("{} kernels, {:.2} ms", launches.len(), 1e-6 * total);
    let mut best: Vec<_> = best.into_iter().collect();
    best.sort_by(|one, other| other.1.total_cmp(&one.1));
    for ((index, variant), nanoseconds) in best {
        let launch = &launches[index];
        println!(
            "{:8.3} ms  {index:3} {launch}\n             {variant}",
            1e-6 * nanoseconds
        );
    }
    Ok(())
}
