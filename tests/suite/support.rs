//! What several test files need.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lapidary::data::{Dataset, save_safetensors};
use lapidary::engine::gpu::{DeviceChoice, GpuEngine, GpuOptions};
use lapidary::kernels::matmul_quant::MatmulQuant;
use lapidary::kernels::{Case, Effort, Epilogue, FloatType, Kernel, REGISTRY};
use lapidary::num::{QuantFormat, QuantizedMatrix, Scheme, quantize};
use lapidary::record::{Launch, Recording, Tensor};
use lapidary::tensor::{DType, HostTensor};

/// Options for the adapter that every test machine has.
pub fn options() -> GpuOptions {
    GpuOptions {
        device: DeviceChoice::Name("llvmpipe".to_owned()),
        ..GpuOptions::default()
    }
}

/// An engine on it.
pub fn gpu(options: GpuOptions) -> GpuEngine {
    GpuEngine::open(options).unwrap_or_else(|error| {
        panic!("{error}\nthese tests need lavapipe: apt-get install -y mesa-vulkan-drivers (./test does it)")
    })
}

/// All quick cases of all kernels.
pub fn cases() -> Vec<(&'static Kernel, Case)> {
    let of = |kernel: &&'static Kernel| {
        let kernel = *kernel;
        (kernel.cases)(Effort::Quick)
            .into_iter()
            .map(move |case| (kernel, case))
    };
    REGISTRY.iter().flat_map(of).collect()
}

/// Values without structure, in [-1, 1], the same everywhere.
pub fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut stream = lapidary::num::Philox::new(seed).stream(0);
    (0..len).map(|_| 2.0 * stream.uniform() - 1.0).collect()
}

/// One quantized product as a recording knows it.
pub struct Product {
    pub launch: Arc<dyn Launch>,
    pub weight: QuantizedMatrix,
    pub x: HostTensor,
    pub m: usize,
    pub n: usize,
}

impl Product {
    pub fn new(m: usize, n: usize, k: usize, scheme: Scheme) -> Self {
        let weight = quantize("w", &values(1, n * k), n, k, &scheme).expect("finite weights");
        let x = HostTensor::from_f32(vec![m, k], &values(2, m * k)).expect("shape fits");
        Self {
            launch: launch(m, n, k, weight.format()),
            weight,
            x,
            m,
            n,
        }
    }

    /// Uploads the weight and appends the product of `x` with it.
    pub fn record(&self, recording: &mut Recording, x: &Tensor) -> Tensor {
        let codes = words(recording, self.weight.codes());
        let scales = words(recording, &self.weight.packed_scales());
        let zeros = self
            .weight
            .packed_zeros()
            .map(|zeros| words(recording, &zeros));
        let out = recording.tensor(DType::F32, &[self.m, self.n]);
        let mut buffers = vec![
            (1, x.buffer()),
            (2, codes.buffer()),
            (3, scales.buffer()),
            (8, out.buffer()),
        ];
        if let Some(zeros) = &zeros {
            buffers.push((4, zeros.buffer()));
        }
        recording
            .dispatch(Arc::clone(&self.launch), &buffers)
            .expect("every slot has a buffer");
        out
    }

    /// Uploads, multiplies, downloads.
    pub fn recording(&self) -> Recording {
        let mut recording = Recording::new();
        let x = recording.upload(&self.x);
        let out = self.record(&mut recording, &x);
        recording.download(&out);
        recording
    }
}

pub fn launch(m: usize, n: usize, k: usize, weight: QuantFormat) -> Arc<dyn Launch> {
    let (m, n, k) = (m as u32, n as u32, k as u32);
    let shape = MatmulQuant {
        m,
        n,
        k,
        x: FloatType::F32,
        weight,
        epilogue: Epilogue::default(),
        out: FloatType::F32,
    };
    shape.launch().expect("the shape is served")
}

fn words(recording: &mut Recording, content: &[u32]) -> Tensor {
    let tensor = recording.tensor(DType::U32, &[content.len()]);
    recording
        .upload_words(tensor.buffer(), content)
        .expect("fits");
    tensor
}

/// Largest difference of two f32 tensors.
pub fn largest_difference(a: &HostTensor, b: &HostTensor) -> f32 {
    let (a, b) = (a.to_f32().expect("floats"), b.to_f32().expect("floats"));
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(&b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// An empty scratch folder but for two sets of three classes that lines tell apart.
pub fn three_classes(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a scratch folder");
    for (file, seed, n) in [("train", 1, 96), ("test", 2, 30)] {
        let labels: Vec<u32> = (0..n).map(|row| row % 3).collect();
        let mut inputs = values(seed, 5 * labels.len());
        for (sample, &label) in inputs.chunks_exact_mut(5).zip(&labels) {
            sample[label as usize] += 2.0;
        }
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let data = Dataset::new(inputs, vec![5], labels, names).expect("valid");
        let path = folder.join(file).with_extension("safetensors");
        save_safetensors(&data, path).expect("writes");
    }
    folder
}
