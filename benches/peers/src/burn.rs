//! burn's tensors on its wgpu backend, WGSL kernels, tuned by itself at the first call of each shape.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, DeviceKind, Tensor, TensorData};
use lapidary::engine::gpu::{AdapterSummary, list_adapters};

use crate::measure::{Contender, Failure};
use crate::operands::{Operands, Shape};
use crate::transpose::transposed;

/// Types of the operands.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    F32,
    F16,
    /// Both operands int8, one scale each.
    Q8,
    /// The second operand int8 with one scale, the first f32.
    Q8Weight,
    /// The second operand int4 with a scale for every 32 values of a row, the first f32.
    Q4Weight,
}

/// How the second operand is stored.
#[derive(Debug, Clone, Copy)]
pub enum Layout {
    /// `[k, n]`.
    KFirst,
    /// `[n, k]`, given as its transposed view.
    KLast,
}

/// Opens the adapter that Lapidary opened; burn selects by kind and by position in that kind.
pub fn open(wanted: &AdapterSummary) -> Result<Device, Failure> {
    let alike = |one: &&AdapterSummary| one.backend == wanted.backend && one.kind == wanted.kind;
    let adapters = pollster::block_on(list_adapters());
    let index = adapters
        .iter()
        .filter(alike)
        .position(|one| one.name == wanted.name)
        .ok_or("the adapter is no longer listed")?;
    let kind = match wanted.kind {
        "discrete" => DeviceKind::DiscreteGpu(index),
        "integrated" => DeviceKind::IntegratedGpu(index),
        "virtual" => DeviceKind::VirtualGpu(index),
        "software" => DeviceKind::Cpu,
        other => return Err(format!("burn cannot select an adapter of kind `{other}`").into()),
    };
    let (device, setup) = guarded(|| {
        let options = Device::wgpu_options().device_kind(kind);
        Ok(options.init_with_setup()?)
    })?;
    let opened = setup.adapter.get_info().name;
    if opened == wanted.name {
        Ok(device)
    } else {
        Err(format!("burn opened `{opened}`").into())
    }
}

/// One of burn's products.
pub struct Burn {
    device: Device,
    a: Tensor<2>,
    b: Tensor<2>,
    /// Of the latest run.
    product: Option<Tensor<2>>,
}

impl Burn {
    pub fn new(
        device: &Device,
        format: Format,
        layout: Layout,
        operands: &Operands,
    ) -> Result<Self, Failure> {
        let Shape { m, n, k } = operands.shape;
        let upload = |values: Vec<f32>, shape| {
            Tensor::<2>::from_data(TensorData::new(values, shape), device)
        };
        guarded(|| {
            let x = upload(operands.x.clone(), [m, k]);
            let stored = match layout {
                Layout::KFirst => upload(transposed(&operands.w, n, k), [k, n]),
                Layout::KLast => upload(operands.w.clone(), [n, k]),
            };
            let q8 = QuantScheme::default().with_value(QuantValue::Q8S);
            let q4 = QuantScheme::default()
                .with_value(QuantValue::Q4S)
                .with_store(QuantStore::PackedU32(0))
                .per_block([32], ScaleDtype::F32);
            let (a, stored) = match format {
                Format::F32 => (x, stored),
                Format::F16 if !device.supports_dtype(DType::F16) => {
                    return Err("the adapter has no f16 for burn".into());
                }
                Format::F16 => (x.cast(DType::F16), stored.cast(DType::F16)),
                Format::Q8 => (x.quantize_dynamic(&q8), stored.quantize_dynamic(&q8)),
                Format::Q8Weight => (x, stored.quantize_dynamic(&q8)),
                Format::Q4Weight => (x, stored.quantize_dynamic(&q4)),
            };
            let b = match layout {
                Layout::KFirst => stored,
                Layout::KLast => stored.transpose(),
            };
            device.sync()?;
            Ok(Self {
                device: device.clone(),
                a,
                b,
                product: None,
            })
        })
    }
}

impl Contender for Burn {
    fn run(&mut self, times: usize) -> Result<Duration, Failure> {
        guarded(|| {
            let began = Instant::now();
            for _ in 0..times {
                self.product = Some(self.a.clone().matmul(self.b.clone()));
            }
            self.device.sync()?;
            Ok(began.elapsed())
        })
    }

    fn last_row(&mut self) -> Result<Vec<f32>, Failure> {
        let product = self.product.clone().ok_or("nothing was run")?;
        guarded(|| {
            let [m, n] = product.dims();
            let row = product
                .dequantize()
                .slice([m - 1..m, 0..n])
                .cast(DType::F32);
            row.into_data()
                .try_to_vec()
                .map_err(|error| error.to_string().into())
        })
    }
}

/// burn panics where an adapter lacks something; that is one contender's failure, not the table's.
pub fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(message(&*panic).into()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a message"))
}
