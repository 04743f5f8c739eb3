//! Loads a safetensors weight, quantizes it to int4 with groups of 64, multiplies it with a vector on
//! the GPU, and prints the largest difference from the CPU reference beside the bound it must keep.
//!
//! `cargo run --release --example int4_matvec [FILE TENSOR]`

use std::error::Error;
use std::path::PathBuf;

use lapidary::engine::gpu::GpuOptions;
use lapidary::engine::{CpuEngine, Engine, GpuEngine};
use lapidary::io::safetensors::SafetensorsFile;
use lapidary::num::{Philox, Scheme, quantize};
use lapidary::ops::{LinearOptions, Weight, linear};
use lapidary::record::{Bound, Recording};
use lapidary::tensor::HostTensor;
use lapidary::verify::compare_recording;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let bundled = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/fmnist_mlp_f32.safetensors"
    );
    let path = PathBuf::from(arguments.next().unwrap_or_else(|| bundled.to_owned()));
    let name = arguments.next().unwrap_or_else(|| "3.weight".to_owned());

    let host = SafetensorsFile::open(&path)?.tensor(&name)?;
    let &[n, k] = host.shape() else {
        return Err(format!("{name}: expected [n, k], got {:?}", host.shape()).into());
    };
    let matrix = quantize(&name, &host.to_f32()?, n, k, &Scheme::int4_group(64))?;
    println!(
        "{name} [{n}, {k}]: {} bytes as f32, {} as {} ({:.2} bits a weight)",
        4 * n * k,
        matrix.bytes(),
        matrix.format(),
        matrix.bits_per_weight()
    );

    let mut stream = Philox::new(1).stream(0);
    let values: Vec<f32> = (0..k).map(|_| stream.normal()).collect();
    let mut recording = Recording::new();
    let x = recording.upload(&HostTensor::from_f32(vec![1, k], &values)?);
    let weight = Weight::upload_quantized(&mut recording, &matrix);
    let y = linear(&mut recording, &x, &weight, &LinearOptions::default())?;
    recording.download(&y);

    let gpu = GpuEngine::open(GpuOptions::default())?;
    let on_gpu = gpu.run(&recording)?[0].to_f32()?;
    let on_cpu = CpuEngine::new().run(&recording)?[0].to_f32()?;
    let reports = compare_recording(&gpu, &recording)?;
    let Some(Bound::Absolute(bounds)) = reports[0].bounds.first() else {
        return Err("expected float bounds".into());
    };

    let differences: Vec<f64> = on_gpu
        .iter()
        .zip(&on_cpu)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
        .collect();
    let largest = (0..n)
        .max_by(|&a, &b| differences[a].total_cmp(&differences[b]))
        .ok_or("no rows")?;
    println!("{} against the CPU reference:", gpu.name());
    println!(
        "largest difference {:.3e} in row {largest}, allowed there {:.3e}",
        differences[largest], bounds[largest]
    );
    let outside = (0..n).filter(|&row| differences[row] > bounds[row]).count();
    println!("{} of {n} rows within their bound", n - outside);
    if outside > 0 {
        Err("the adapter is outside the bound".into())
    } else {
        Ok(())
    }
}
