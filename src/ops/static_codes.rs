//! Linear layers that hand int8 codes to the next one: under a scale that was found beforehand a product can store what
//! the next one reads, so that between two layers nothing is quantized.

use crate::num::StaticScale;
use crate::record::{Buffer, Recording, Tensor};

use super::coded::{CodedRows, check_product, put, quantize_rows_by, record_product};
use super::{ActivationPath, LinearOptions, OpError, QuantizedWeight, Weight};

const OP: &str = "linear";

/// Activations `[m, k]` in int8 under one scale for the whole tensor, as integer products read them.
#[derive(Debug, Clone)]
pub struct StaticCodes {
    m: u32,
    k: u32,
    codes: Buffer,
    scale: StaticScale,
}

/// As [`super::linear()`], with the results in codes for a next layer: under the scale that this one's activations
/// have. x is quantized first.
///
/// # Errors
/// [`OpError`] as of [`super::linear()`], and for a residual, other outputs than f32, weights that are not quantized.
pub fn linear_to_codes(
    recording: &mut Recording,
    x: &Tensor,
    weight: &Weight,
    options: &LinearOptions<'_>,
    next: StaticScale,
) -> Result<StaticCodes, OpError> {
    let (ActivationPath::Int8Static(scale), Weight::Quantized(weight)) =
        (options.activations, weight)
    else {
        return Err(no_static("weight and activations", x.shape()));
    };
    let extents = check_product(x.shape(), weight, options, Some(next))?;
    let [m, k] = extents;
    let rows = quantize_rows_by(recording, x, [k, weight.segment(k)], Some(scale))?;
    StaticCodes::made(recording, (&rows, m), weight, options, next)
}

impl StaticCodes {
    /// A linear layer on these rows; its activations must have their scale.
    ///
    /// # Errors
    /// [`OpError`] as of [`super::linear()`], for another scale, and for weights other than symmetric int8: these alone
    /// need no sums of the rows ([`Weight::takes_codes`]).
    pub fn linear(
        &self,
        recording: &mut Recording,
        weight: &Weight,
        options: &LinearOptions<'_>,
    ) -> Result<Tensor, OpError> {
        let weight = self.check(weight, options, None)?;
        let rows = self.rows(recording, weight);
        let buffer = record_product(recording, &rows, weight, options, None)?;
        let extents = [self.m as usize, weight.n];
        Ok(Tensor::of_buffer(buffer, options.out.dtype(), &extents))
    }

    /// The same with the results in codes for a next layer.
    ///
    /// # Errors
    /// As [`Self::linear`] and [`linear_to_codes`].
    pub fn linear_to_codes(
        &self,
        recording: &mut Recording,
        weight: &Weight,
        options: &LinearOptions<'_>,
        next: StaticScale,
    ) -> Result<Self, OpError> {
        let weight = self.check(weight, options, Some(next))?;
        let rows = self.rows(recording, weight);
        Self::made(recording, (&rows, self.m), weight, options, next)
    }

    fn made(
        recording: &mut Recording,
        (rows, m): (&CodedRows, u32),
        weight: &QuantizedWeight,
        options: &LinearOptions<'_>,
        next: StaticScale,
    ) -> Result<Self, OpError> {
        Ok(Self {
            m,
            k: super::extent(OP, "n", weight.n)?,
            codes: record_product(recording, rows, weight, options, Some(next))?,
            scale: next,
        })
    }

    fn check<'a>(
        &self,
        weight: &'a Weight,
        options: &LinearOptions<'_>,
        next: Option<StaticScale>,
    ) -> Result<&'a QuantizedWeight, OpError> {
        let extents = [self.m as usize, self.k as usize];
        match weight {
            Weight::Quantized(quantized)
                if weight.takes_codes()
                    && options.activations == ActivationPath::Int8Static(self.scale) =>
            {
                check_product(&extents, quantized, options, next)?;
                Ok(quantized)
            }
            _ => Err(no_static("weight and activations", &extents)),
        }
    }

    /// As products read them: one scale everywhere; sums are read, and multiplied by zero points of 0.
    fn rows(&self, recording: &mut Recording, weight: &QuantizedWeight) -> CodedRows {
        let segment = weight.segment(self.k);
        let count = (self.m * (self.k / segment)) as usize;
        let mut words = vec![self.scale.get().to_bits(); count];
        words.resize(2 * count, 0);
        let blocks = put(recording, words);
        CodedRows::new(
            (self.codes.clone(), blocks),
            [self.m, self.k, self.k, segment],
        )
    }
}

fn no_static(what: &'static str, got: &[usize]) -> OpError {
    OpError::Shape {
        op: OP,
        what,
        got: got.to_vec(),
        expected:
            "codes under the scale that activations have, symmetric int8 ones of the weight behind codes"
                .to_owned(),
    }
}
