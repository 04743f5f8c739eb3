//! Lapidary through its public operations: plans that repeat one of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lapidary::engine::gpu::{DeviceChoice, GpuOptions};
use lapidary::engine::{CpuEngine, Engine, GpuEngine, Plan};
use lapidary::kernels::FloatType;
use lapidary::kernels::matmul_dense::Layout;
use lapidary::num::{Scheme, quantize};
use lapidary::ops::{ActivationPath, LinearOptions, MatmulOptions, Weight, linear, matmul};
use lapidary::record::{Recording, Tensor};
use lapidary::shader::Sources;
use lapidary::tensor::{DType, HostTensor};
use lapidary::tune::{Key, Store};

use crate::measure::{Contender, Failure};
use crate::operands::{Operands, Shape};
use crate::transpose::transposed;

/// Opens the adapter with the choices that `lapidary tune` left for it, if any.
pub fn open_lapidary(device: &str) -> Result<GpuEngine, Failure> {
    let engine = GpuEngine::open(GpuOptions {
        device: DeviceChoice::Name(device.to_owned()),
        ..GpuOptions::default()
    })?;
    if let Ok(folder) = Store::folder() {
        let key = Key::new(engine.summary(), &Sources::embedded());
        let (store, note) = Store::open(&folder, key);
        note.iter().for_each(|note| eprintln!("note: {note}"));
        engine.set_choices(store.table());
    }
    Ok(engine)
}

/// How a product is made.
#[derive(Debug, Clone, Copy)]
pub enum Method {
    /// `matmul` of two tensors of one type, the second stored as the layout says.
    Dense(DType, Layout),
    /// `linear` with a quantized weight.
    Quantized(Scheme, ActivationPath),
}

/// Where a product is made.
#[derive(Clone)]
pub enum Place {
    Gpu(Arc<GpuEngine>),
    Cpu(CpuEngine),
}

impl Place {
    fn engine(&self) -> &dyn Engine {
        match self {
            Self::Gpu(engine) => engine.as_ref(),
            Self::Cpu(engine) => engine,
        }
    }

    fn wait(&self) -> Result<(), Failure> {
        match self {
            Self::Gpu(engine) => Ok(engine.wait()?),
            Self::Cpu(_) => Ok(()),
        }
    }
}

enum Operation {
    Dense {
        b: Tensor,
        layout: Layout,
        out: FloatType,
    },
    Quantized {
        weight: Weight,
        activations: ActivationPath,
    },
}

/// One of Lapidary's products.
pub struct Ours {
    place: Place,
    x: Tensor,
    operation: Operation,
    /// The plan for the number of products asked for last.
    plan: Option<(usize, Box<dyn Plan>)>,
}

impl Ours {
    pub fn new(place: Place, method: Method, operands: &Operands) -> Result<Self, Failure> {
        let Shape { m, n, k } = operands.shape;
        let mut uploads = Recording::new();
        let x_type = match method {
            Method::Dense(dtype, _) => dtype,
            Method::Quantized(..) => DType::F32,
        };
        let x = uploads.upload(&HostTensor::from_f32_as(x_type, vec![m, k], &operands.x)?);
        let operation = match method {
            Method::Dense(dtype, layout) => {
                let b = match layout {
                    Layout::KFirst => {
                        let b = transposed(&operands.w, n, k);
                        HostTensor::from_f32_as(dtype, vec![k, n], &b)?
                    }
                    Layout::KLast => HostTensor::from_f32_as(dtype, vec![n, k], &operands.w)?,
                };
                let b = uploads.upload(&b);
                let out = FloatType::from_dtype(dtype).ok_or("not a float type")?;
                Operation::Dense { b, layout, out }
            }
            Method::Quantized(scheme, activations) => {
                let matrix = quantize("w", &operands.w, n, k, &scheme)?;
                let weight = Weight::upload_quantized(&mut uploads, &matrix);
                Operation::Quantized {
                    weight,
                    activations,
                }
            }
        };
        place.engine().run(&uploads)?;
        Ok(Self {
            place,
            x,
            operation,
            plan: None,
        })
    }

    fn append(&self, recording: &mut Recording) -> Result<Tensor, Failure> {
        Ok(match &self.operation {
            Operation::Dense { b, layout, out } => {
                let options = MatmulOptions {
                    b_layout: *layout,
                    out: *out,
                    ..MatmulOptions::default()
                };
                matmul(recording, &self.x, b, &options)?
            }
            Operation::Quantized {
                weight,
                activations,
            } => {
                let options = LinearOptions {
                    activations: *activations,
                    ..LinearOptions::default()
                };
                linear(recording, &self.x, weight, &options)?
            }
        })
    }
}

impl Contender for Ours {
    fn run(&mut self, times: usize) -> Result<Duration, Failure> {
        let mut began = Instant::now();
        let plan = match self.plan.take() {
            Some((count, plan)) if count == times => plan,
            earlier => {
                let mut recording = Recording::new();
                for _ in 0..times {
                    self.append(&mut recording)?;
                }
                let plan = self.place.engine().prepare(&recording)?;
                if earlier.is_some() {
                    began = Instant::now();
                }
                plan
            }
        };
        plan.run(&[])?;
        self.place.wait()?;
        let elapsed = began.elapsed();
        self.plan = Some((times, plan));
        Ok(elapsed)
    }

    fn last_row(&mut self) -> Result<Vec<f32>, Failure> {
        let mut recording = Recording::new();
        let y = self.append(&mut recording)?;
        recording.download(&y);
        let n = y.shape()[1];
        let results = self.place.engine().run(&recording)?;
        let values = results.first().ok_or("nothing was downloaded")?.to_f32()?;
        Ok(values[values.len() - n..].to_vec())
    }
}
