//! One web-rwkv product, run on request.
//!
//! `lapidary-peers-web-rwkv ADAPTER OP FORMAT M N K` opens the first adapter whose name contains ADAPTER
//! and answers `ready NAME`. Then each line of stdin is a request, answered by one line:
//!
//! * `run TIMES`: multiplies that many times, waits once, answers `nanoseconds N`;
//! * `last_row`: answers `values` and the last row of the product.
//!
//! OP is `vec` (the decoding path) or `mat` (the path for many tokens); FORMAT, of the weight, is `fp16`,
//! `int8` or `nf4`. The first `run` includes the compilation of the pipeline.

#[path = "../../src/operands.rs"]
mod operands;

use std::error::Error;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

use half::f16;
use web_rwkv::context::{Context, ContextBuilder};
use web_rwkv::num::Float;
use web_rwkv::tensor::kind::ReadWrite;
use web_rwkv::tensor::matrix::Matrix;
use web_rwkv::tensor::ops::{Activation, TensorOp};
use web_rwkv::tensor::shape::Shape as Dimensions;
use web_rwkv::tensor::{TensorError, TensorGpu, TensorInitContext, TensorShape};
use web_rwkv::wgpu;

use operands::{Operands, Shape};

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web-rwkv: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [adapter, op, format, m, n, k] = arguments.as_slice() else {
        return Err("usage: ADAPTER vec|mat fp16|int8|nf4 M N K".into());
    };
    let shape = Shape {
        m: m.parse()?,
        n: n.parse()?,
        k: k.parse()?,
    };
    let (context, name) = open(adapter)?;
    let mut product = Product::new(&context, op, format, &Operands::new(shape))?;
    answer(&format!("ready {name}"))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["run", times] => {
                let nanoseconds = product.run(&context, times.parse()?)?;
                answer(&format!("nanoseconds {nanoseconds}"))?;
            }
            ["last_row"] => {
                let values: Vec<String> = product.last_row().iter().map(f32::to_string).collect();
                answer(&format!("values {}", values.join(" ")))?;
            }
            _ => return Err(format!("unknown request `{line}`").into()),
        }
    }
    Ok(())
}

fn answer(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// The first adapter whose name contains `part`.
fn open(part: &str) -> Result<(Context, String), Box<dyn Error>> {
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()))
        .into_iter()
        .find(|adapter| adapter.get_info().name.contains(part))
        .ok_or_else(|| format!("no adapter named `{part}`"))?;
    let name = adapter.get_info().name;
    let limits = adapter.limits();
    let context = pollster::block_on(ContextBuilder::new(adapter).limits(limits).build())?;
    Ok((context, name))
}

/// Inputs and outputs in the types that the library's models give each path.
enum Product {
    Vec(Operation<f32>),
    Mat(Operation<f16>),
}

struct Operation<F: Float> {
    weight: Matrix,
    /// `[k, m]` in the library's order, fastest first.
    input: TensorGpu<F, ReadWrite>,
    /// `[n, m]`.
    output: TensorGpu<f32, ReadWrite>,
    /// The same operation several times, and how many.
    repeated: Option<(usize, TensorOp)>,
}

impl Product {
    fn new(
        context: &Context,
        op: &str,
        format: &str,
        operands: &Operands,
    ) -> Result<Self, Box<dyn Error>> {
        let Shape { m, n, k } = operands.shape;
        let halves =
            |values: &[f32]| -> Vec<f16> { values.iter().copied().map(f16::from_f32).collect() };
        let dense = TensorGpu::from_data(context, shape_2d(k, n), halves(&operands.w))?;
        let weight = match format {
            "fp16" => Matrix::Fp16(dense),
            "int8" => Matrix::quant_u8(&dense)?,
            "nf4" => Matrix::quant_nf4(&dense)?,
            other => return Err(format!("unknown format `{other}`").into()),
        };
        let output = TensorGpu::init(context, shape_2d(n, m));
        let input = shape_2d(k, m);
        Ok(match op {
            "vec" => Self::Vec(Operation {
                weight,
                input: TensorGpu::from_data(context, input, operands.x.clone())?,
                output,
                repeated: None,
            }),
            "mat" => Self::Mat(Operation {
                weight,
                input: TensorGpu::from_data(context, input, halves(&operands.x))?,
                output,
                repeated: None,
            }),
            other => return Err(format!("unknown operation `{other}`").into()),
        })
    }

    fn run(&mut self, context: &Context, times: usize) -> Result<u128, Box<dyn Error>> {
        match self {
            Self::Vec(operation) => operation.run(context, times, |one| {
                one.weight
                    .matmul_vec_op(&one.input, &one.output, Activation::None)
            }),
            Self::Mat(operation) => operation.run(context, times, |one| {
                one.weight
                    .matmul_mat_op(&one.input, &one.output, Activation::None)
            }),
        }
    }

    fn last_row(&self) -> Vec<f32> {
        let output = match self {
            Self::Vec(operation) => &operation.output,
            Self::Mat(operation) => &operation.output,
        };
        let values: Vec<f32> = output.back_in_place().to_vec();
        let n = output.shape()[0];
        values[values.len() - n..].to_vec()
    }
}

impl<F: Float> Operation<F> {
    /// Nanoseconds of `times` products and one wait. Only the first call's include making the operation.
    fn run(
        &mut self,
        context: &Context,
        times: usize,
        make: impl Fn(&Self) -> Result<TensorOp, TensorError>,
    ) -> Result<u128, Box<dyn Error>> {
        let mut began = Instant::now();
        let list = match self.repeated.take() {
            Some((count, list)) if count == times => list,
            earlier => {
                let list: Result<_, _> = (0..times).map(|_| make(self)).collect();
                let list = TensorOp::List(list?);
                if earlier.is_some() {
                    began = Instant::now();
                }
                list
            }
        };
        context.queue.submit(context.encode(&list));
        context.device.poll(wgpu::PollType::wait_indefinitely())?;
        let nanoseconds = began.elapsed().as_nanos();
        self.repeated = Some((times, list));
        Ok(nanoseconds)
    }
}

fn shape_2d(fastest: usize, rows: usize) -> Dimensions {
    Dimensions::new(fastest, rows, 1, 1)
}
