//! candle's quantized product on the CPU, with all its threads.

use std::time::{Duration, Instant};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};

use crate::measure::{Contender, Failure};
use crate::operands::{Operands, Shape};

/// GGML's block formats of the weight.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    Q4_0,
    Q8_0,
}

/// One of candle's products.
pub struct Candle {
    x: Tensor,
    weight: QMatMul,
    product: Option<Tensor>,
}

impl Candle {
    pub fn new(format: Format, operands: &Operands) -> Result<Self, Failure> {
        let Shape { m, n, k } = operands.shape;
        let x = Tensor::from_slice(&operands.x, (m, k), &Device::Cpu)?;
        let w = Tensor::from_slice(&operands.w, (n, k), &Device::Cpu)?;
        let format = match format {
            Format::Q4_0 => GgmlDType::Q4_0,
            Format::Q8_0 => GgmlDType::Q8_0,
        };
        let weight = QMatMul::from_qtensor(QTensor::quantize(&w, format)?)?;
        Ok(Self {
            x,
            weight,
            product: None,
        })
    }
}

impl Contender for Candle {
    fn run(&mut self, times: usize) -> Result<Duration, Failure> {
        let began = Instant::now();
        for _ in 0..times {
            self.product = Some(self.weight.forward(&self.x)?);
        }
        Ok(began.elapsed())
    }

    fn last_row(&mut self) -> Result<Vec<f32>, Failure> {
        let product = self.product.as_ref().ok_or("nothing was run")?;
        let (m, _) = product.dims2()?;
        Ok(product.get(m - 1)?.to_vec1()?)
    }
}
