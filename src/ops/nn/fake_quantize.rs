//! Fake quantization: floats that take only the values of a quantized tensor, for training that sees the
//! rounding. The maths is in [`crate::num::quant::fake`].

use crate::kernels::elementwise::{Binary, Broadcast};
use crate::kernels::fake_quantize::{CodedRuns, FakeQuantize};
use crate::kernels::fake_quantize_backward::FakeQuantizeBackward;
use crate::kernels::quant_scales::QuantScales;
use crate::kernels::{FloatType, ShapeError};
use crate::num::quant::fake::{learned_scale_factor, least_learned_scale};
use crate::num::quant::{
    CodeRange, CodeScale, Granularity, Rounding, ScaleRule, ScaleType, Scheme,
};
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::super::matmul::float;
use super::super::{OpError, binary, cast, check_shape, check_type, extent};
use super::column_sums;

/// Which elements share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleScope {
    /// All of them.
    Tensor,
    /// Those of one index of the first dimension: an output feature of a weight, a filter of a convolution.
    Channel,
    /// Those of one row, the last dimension: a sample or a token of activations.
    Row,
    /// This many neighbours in a row; divides the last dimension.
    Group(u32),
}

/// Scales, codes: what a tensor is fake-quantized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// Which elements share a scale.
    pub scope: ScaleScope,
    /// What codes are clamped to.
    pub range: CodeRange,
}

/// How scales follow from what they are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScalesOf {
    /// From the largest magnitude; not [`ScaleRule::MinMax`].
    pub rule: ScaleRule,
    /// Type that they are rounded to; they are stored as f32.
    pub scale_type: ScaleType,
}

/// Scales as an operation takes them.
#[derive(Debug, Clone, Copy)]
pub struct Scales<'a> {
    /// f32, as many as [`Coding::n_scales`] says.
    pub scales: &'a Tensor,
    /// Zero points, i8, one beside each scale.
    pub zeros: Option<&'a Tensor>,
}

impl Coding {
    /// Coding and scales under which a matrix `[n, k]` takes the values that quantizing it under `scheme` and
    /// dequantizing it gives, bit for bit.
    ///
    /// # Errors
    /// [`OpError::Kernel`] for zero points, roundings of ties other than to even, and codes made with
    /// another scale than the stored one.
    pub fn of_scheme(scheme: &Scheme) -> Result<(Self, ScalesOf), OpError> {
        let refused = |name, value: String, allowed| {
            Err(OpError::Kernel(ShapeError::Unsupported {
                kernel: "fake_quantize",
                name,
                value,
                allowed,
            }))
        };
        let range = CodeRange::stored_as(scheme.bits);
        if range.twice_divisor(scheme.rule).is_none() {
            let allowed = "rules of the largest magnitude";
            return refused("scale rule", format!("{:?}", scheme.rule), allowed);
        }
        if scheme.rounding != Rounding::HalfEven {
            return refused("rounding", format!("{:?}", scheme.rounding), "HalfEven");
        }
        if scheme.code_scale != CodeScale::Stored {
            return refused("code scale", format!("{:?}", scheme.code_scale), "Stored");
        }
        let scope = match scheme.granularity {
            Granularity::Tensor => ScaleScope::Tensor,
            Granularity::Channel => ScaleScope::Channel,
            Granularity::Group(size) => ScaleScope::Group(size),
        };
        let scales = ScalesOf {
            rule: scheme.rule,
            scale_type: scheme.scale_type,
        };
        Ok((Self { scope, range }, scales))
    }

    /// int8 activations with a scale a row, -127..=127, as the integer products quantize them.
    pub const INT8_ROWS: (Self, ScalesOf) = (
        Self {
            scope: ScaleScope::Row,
            range: CodeRange::stored_as(crate::num::Bits::Int8).narrow(),
        },
        ScalesOf {
            rule: ScaleRule::RestrictedAbsMax,
            scale_type: ScaleType::F32,
        },
    );

    /// Number of scales of a tensor of `shape`.
    ///
    /// # Errors
    /// [`OpError::Shape`] for no dimensions, no elements, and rows that groups do not divide.
    pub fn n_scales(&self, shape: &[usize]) -> Result<usize, OpError> {
        let [runs, _] = self.extents("fake_quantize", shape)?;
        Ok(if self.scope == ScaleScope::Tensor {
            1
        } else {
            runs
        })
    }

    /// Runs under one scale and their length; rows where all share one.
    fn extents(&self, op: &'static str, shape: &[usize]) -> Result<[usize; 2], OpError> {
        let refused = |expected: String| {
            Err(OpError::Shape {
                op,
                what: "x",
                got: shape.to_vec(),
                expected,
            })
        };
        let (Some(&first), Some(&last)) = (shape.first(), shape.last()) else {
            return refused("at least one dimension".to_owned());
        };
        let multiplied = |len: usize, &extent: &usize| len.checked_mul(extent);
        let Some(len) = shape.iter().try_fold(1, multiplied) else {
            return refused("a number of elements that fits memory".to_owned());
        };
        if len == 0 {
            return refused("at least one element".to_owned());
        }
        match self.scope {
            ScaleScope::Tensor | ScaleScope::Row => Ok([len / last, last]),
            ScaleScope::Channel => Ok([first, len / first]),
            ScaleScope::Group(size) if size == 0 || !last.is_multiple_of(size as usize) => {
                refused(format!("a last dimension of groups of {size}"))
            }
            ScaleScope::Group(size) => Ok([len / size as usize, size as usize]),
        }
    }

    fn runs(&self, op: &'static str, x: &Tensor, given: &Scales<'_>) -> Result<CodedRuns, OpError> {
        let [rows, columns] = self.extents(op, x.shape())?;
        let is_shared = self.scope == ScaleScope::Tensor;
        let count = if is_shared { 1 } else { rows };
        check_type(op, "scales", given.scales, DType::F32)?;
        check_shape(op, "scales", given.scales, &[count])?;
        if let Some(zeros) = given.zeros {
            check_type(op, "zero points", zeros, DType::I8)?;
            check_shape(op, "zero points", zeros, &[count])?;
        }
        Ok(CodedRuns {
            rows: extent(op, "runs", rows)?,
            columns: extent(op, "elements of a run", columns)?,
            is_shared,
            has_zeros: given.zeros.is_some(),
            range: self.range,
        })
    }

    /// Elements of one run of a tensor of `shape`; 1 where there is none.
    pub(crate) fn run(&self, shape: &[usize]) -> usize {
        let extents = self.extents("fake_quantize", shape);
        extents.map_or(1, |[_, columns]| columns)
    }
}

/// Scales of x from its largest magnitudes, f32 `[scales]`: what quantizing it would store, bit for bit.
///
/// # Errors
/// [`OpError`] for tensors that are not float, have no elements or rows that groups do not divide, and the rule
/// of both ends; nothing is recorded then.
pub fn quant_scales(
    recording: &mut Recording,
    x: &Tensor,
    coding: Coding,
    of: ScalesOf,
) -> Result<Tensor, OpError> {
    const OP: &str = "quant_scales";
    let [rows, columns] = match (coding.scope, coding.extents(OP, x.shape())?) {
        (ScaleScope::Tensor, [rows, columns]) => [1, rows * columns],
        (ScaleScope::Channel | ScaleScope::Row | ScaleScope::Group(_), extents) => extents,
    };
    let launch = QuantScales {
        rows: extent(OP, "scales", rows)?,
        columns: extent(OP, "elements of a scale", columns)?,
        x: float(OP, "x", x)?,
        range: coding.range,
        rule: of.rule,
        scale_type: of.scale_type,
    }
    .launch()?;
    let scales = recording.tensor(DType::F32, &[rows]);
    recording.dispatch(launch, &[(1, x.buffer()), (8, scales.buffer())])?;
    Ok(scales)
}

/// Learned scales as they are stored, f32 `[scales]`: [`stored_learned_scale`] of each, bit for bit. `signs` are 1 and
/// -1, of the same shape.
///
/// # Errors
/// [`OpError`] for scales and signs that are not f32, have no elements or other shapes.
///
/// [`stored_learned_scale`]: crate::num::quant::fake::stored_learned_scale
pub fn stored_scales(
    recording: &mut Recording,
    learned: &Tensor,
    signs: &Tensor,
    scale_type: ScaleType,
) -> Result<Tensor, OpError> {
    const OP: &str = "stored_scales";
    check_type(OP, "scales", learned, DType::F32)?;
    check_type(OP, "signs", signs, DType::F32)?;
    check_shape(OP, "signs", signs, learned.shape())?;
    let smallest = least_learned_scale(scale_type);
    let least = recording.tensor(DType::F32, &[1]);
    recording.upload_words(least.buffer(), vec![smallest.to_bits()])?;
    let largest = (Binary::Max, Broadcast::Scalar);
    let positive = binary(recording, learned, &least, largest, FloatType::F32)?;
    let rounded = match scale_type {
        ScaleType::F32 => positive,
        ScaleType::F16 => {
            let narrow = cast(recording, &positive, FloatType::F16)?;
            cast(recording, &narrow, FloatType::F32)?
        }
    };
    let signed = (Binary::Mul, Broadcast::Full);
    binary(recording, &rounded, signs, signed, FloatType::F32)
}

/// `scale (clamp(round(x / scale) + zero) - zero)`, shaped as x and of the type `out`. Scales are taken as at
/// least the smallest normal f32, of their sign.
///
/// # Errors
/// [`OpError`] for tensors that are not float, have no elements or rows that groups do not divide, and scales or
/// zero points of another number or type; nothing is recorded then.
pub fn fake_quantize(
    recording: &mut Recording,
    x: &Tensor,
    given: &Scales<'_>,
    coding: Coding,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "fake_quantize";
    let launch = FakeQuantize {
        runs: coding.runs(OP, x, given)?,
        x: float(OP, "x", x)?,
        out,
    }
    .launch()?;
    let y = recording.tensor(out.dtype(), x.shape());
    let mut buffers = vec![(1, x.buffer()), (8, y.buffer())];
    buffers.extend(scale_buffers(given));
    recording.dispatch(launch, &buffers)?;
    Ok(y)
}

/// Which gradients are made, and how that of x is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FakeQuantizeGradients {
    /// Whether scales are learned.
    pub learned: bool,
    /// Storage of the gradient of x.
    pub out: FloatType,
}

/// Gradients through [`fake_quantize`] from x and the gradient `dy` of what it gave: of x, which is dy where
/// clamping changed nothing and 0 elsewhere, and of learned scales, f32 `[scales]`, with the factor
/// `1 / sqrt(elements of a scale * largest code)` of Esser et al. (2020).
///
/// # Errors
/// As [`fake_quantize`], and for 16-bit results of odd runs; nothing is recorded then.
pub fn fake_quantize_backward(
    recording: &mut Recording,
    (x, dy): (&Tensor, &Tensor),
    given: &Scales<'_>,
    coding: Coding,
    gradients: FakeQuantizeGradients,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    const OP: &str = "fake_quantize_backward";
    check_shape(OP, "dy", dy, x.shape())?;
    let runs = coding.runs(OP, x, given)?;
    let of_a_scale = x.len() / given.scales.len();
    let factor = learned_scale_factor(of_a_scale, coding.range);
    let launch = FakeQuantizeBackward {
        runs,
        slope_factor: gradients.learned.then_some(factor),
        x: float(OP, "x", x)?,
        dy: float(OP, "dy", dy)?,
        out: gradients.out,
    }
    .launch()?;
    let dx = recording.tensor(gradients.out.dtype(), x.shape());
    let slopes = Tensor::new(DType::F32, &[runs.rows as usize, 1]);
    let mut buffers = vec![(1, x.buffer()), (2, dy.buffer()), (8, dx.buffer())];
    buffers.extend(scale_buffers(given));
    if gradients.learned {
        buffers.push((7, slopes.buffer()));
    }
    recording.dispatch(launch, &buffers)?;
    let scale = match (gradients.learned, coding.scope) {
        (false, _) => None,
        (true, ScaleScope::Tensor) => Some(column_sums(recording, &slopes)?),
        (true, ScaleScope::Channel | ScaleScope::Row | ScaleScope::Group(_)) => {
            let buffer = slopes.buffer().clone();
            Some(Tensor::of_buffer(buffer, DType::F32, given.scales.shape()))
        }
    };
    Ok((dx, scale))
}

fn scale_buffers<'a>(given: &Scales<'a>) -> Vec<(u32, &'a crate::record::Buffer)> {
    let zeros = given.zeros.map(|zeros| (4, zeros.buffer()));
    [(3, given.scales.buffer())]
        .into_iter()
        .chain(zeros)
        .collect()
}
