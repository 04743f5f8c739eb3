//! Prunes a weight of all-MiniLM-L6-v2 to 2:4 and quantizes what is left to int8, on the GPU and with its
//! zeros gone; checks the product against the CPU, and prints bytes and milliseconds beside the dense int8
//! weight, whichever way that turns out.
//!
//! `scripts/models minilm` brings the model, then
//! `cargo run --release --example prune_minilm [FILE TENSOR]`

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{CpuEngine, Engine, GpuEngine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::kernels::sparse::{Route, SparseMatmul};
use lapidary::num::mask::Pattern;
use lapidary::num::{
    Dense, NmMatrix, NmPattern, Philox, Scheme, SparseMatrix, ValueFormat, quantize,
};
use lapidary::ops::{LinearOptions, Weight, linear, mask};
use lapidary::record::{Bound, Build, Launch, Recording, usable_variants};
use lapidary::tensor::HostTensor;
use lapidary::tune::{Effort, time_variants};
use lapidary::verify::compare_recording;

/// Rows of activations: one token, and a batch of sentences.
const ROWS: [usize; 2] = [1, 128];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let bundled = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/.cache/models/minilm/model.safetensors"
    );
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| bundled.to_owned()));
    let name = arguments
        .next()
        .unwrap_or_else(|| "encoder.layer.0.intermediate.dense.weight".to_owned());
    if !path.exists() {
        let path = path.display();
        return Err(format!("{path} is missing: scripts/models minilm brings it").into());
    }
    let host = SafetensorsFile::open(&path)?.tensor(&name)?;
    let &[n, k] = host.shape() else {
        return Err(format!("{name}: expected [n, k], got {:?}", host.shape()).into());
    };
    let gpu = GpuEngine::open(GpuOptions::default())?;
    println!("{} on {}", name, gpu.summary().line());

    let pruned = prune(&gpu, &host)?;
    let dense = Dense {
        name: &name,
        weights: &pruned,
        n,
        k,
    };
    let scheme = Scheme::int8_channel();
    let sparse = NmMatrix::compress(&dense, NmPattern::TWO_FOUR, ValueFormat::Quantized(scheme))?;
    let sparse = SparseMatrix::Nm(sparse);
    let full = quantize(&name, &host.to_f32()?, n, k, &scheme)?;
    println!(
        "{:>9} bytes as f32, {} as dense {}, {} as {} ({:.3} bytes a weight)",
        4 * n * k,
        full.bytes(),
        full.format(),
        sparse.bytes(),
        sparse,
        sparse.bytes_per_weight()
    );
    for m in ROWS {
        check(&gpu, &sparse, m)?;
        let shape = SparseMatmul::of(&sparse, m as u32);
        let sparse_ms = fastest_ms(&gpu, &shape.launch()?)?;
        let dense_ms = fastest_ms(&gpu, &shape.dense()?)?;
        let ratio = dense_ms / sparse_ms;
        let verdict = if ratio > 1.02 {
            format!("{ratio:.2}x faster")
        } else if ratio < 0.98 {
            format!("{:.2}x slower", 1.0 / ratio)
        } else {
            "no faster".to_owned()
        };
        println!("{m:>4} rows: dense {dense_ms:.4} ms, sparse {sparse_ms:.4} ms, {verdict}");
    }
    Ok(())
}

/// Keeps the two largest of every four weights of a row; selected and applied on the GPU.
fn prune(gpu: &GpuEngine, host: &HostTensor) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut recording = Recording::new();
    let weight = recording.upload(host);
    let scores = mask::magnitude(&mut recording, &weight)?;
    let pattern = Pattern::NOfM {
        keep: 2,
        group: 4,
        vector: 1,
    };
    let kept = mask::select(&mut recording, &scores, &pattern)?;
    let pruned = mask::apply(&mut recording, &weight, &kept)?;
    recording.download(&pruned);
    let pruned = gpu.run(&recording)?[0].to_f32()?;
    let zeros = pruned.iter().filter(|&&weight| weight == 0.0).count();
    println!("{zeros} of {} weights pruned", pruned.len());
    Ok(pruned)
}

/// Runs the product on both engines and compares each output with its bound.
fn check(gpu: &GpuEngine, matrix: &SparseMatrix, m: usize) -> Result<(), Box<dyn Error>> {
    let mut stream = Philox::new(1).stream(m as u64);
    let values: Vec<f32> = (0..m * matrix.k()).map(|_| stream.normal()).collect();
    let mut recording = Recording::new();
    let x = recording.upload(&HostTensor::from_f32(vec![m, matrix.k()], &values)?);
    let weight = Weight::upload_sparse(&mut recording, matrix, Route::Sparse);
    let y = linear(&mut recording, &x, &weight, &LinearOptions::default())?;
    recording.download(&y);
    let on_gpu = gpu.run(&recording)?[0].to_f32()?;
    let on_cpu = CpuEngine::new().run(&recording)?[0].to_f32()?;
    let reports = compare_recording(gpu, &recording)?;
    let Some(Bound::Absolute(bounds)) = reports[0].bounds.first() else {
        return Err("expected float bounds".into());
    };
    let errors = on_gpu.iter().zip(&on_cpu).zip(bounds);
    let worst = errors
        .map(|((a, b), bound)| (f64::from(*a) - f64::from(*b)).abs() / bound)
        .fold(0.0, f64::max);
    println!("{m:>4} rows: worst error {worst:.4} of what is allowed");
    if worst > 1.0 {
        return Err("the adapter is outside the bound".into());
    }
    Ok(())
}

/// Milliseconds of a launch's fastest variant.
fn fastest_ms(gpu: &GpuEngine, launch: &Arc<dyn Launch>) -> Result<f64, Box<dyn Error>> {
    let variants = usable_variants(launch.as_ref(), gpu.capabilities(), Build::Trusted);
    let (_, measured) = time_variants(gpu, launch, &variants, Effort::TUNE, &mut |_| true)?;
    let times = measured.into_iter().filter_map(|one| one.timing.ok());
    let best = times.map(|timing| timing.median_ns).reduce(f64::min);
    Ok(best.ok_or("no variant could be timed")? / 1e6)
}
