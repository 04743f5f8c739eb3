//! Concatenation and slices along one dimension: strided copies.

use std::ops::Range;

use crate::kernels::copy::{Place, StridedCopy, Width};
use crate::kernels::fill::Fill;
use crate::record::{Recording, Tensor};
use crate::tensor::DType;

use super::{OpError, check_shape, check_type, extent};

/// Tensors of one type, one after the other along `dimension`; the others are the same in all.
///
/// # Errors
/// [`OpError`] for no tensors, other types, shapes that differ elsewhere, elements that are neither 16 nor 32
/// bits, and 16-bit rows of which a word would belong to two tensors; nothing is recorded then.
pub fn concatenate(
    recording: &mut Recording,
    parts: &[&Tensor],
    dimension: usize,
) -> Result<Tensor, OpError> {
    const OP: &str = "concatenate";
    let Some(first) = parts.first() else {
        return Err(OpError::Shape {
            op: OP,
            what: "list of parts",
            got: vec![0],
            expected: "at least one".to_owned(),
        });
    };
    let (rows, inner) = around(OP, first, dimension)?;
    let width = width(OP, first)?;
    let mut total = 0usize;
    for part in parts {
        check_type(OP, "part", part, first.dtype())?;
        let mut expected = first.shape().to_vec();
        if part.shape().len() == expected.len() {
            expected[dimension] = part.shape()[dimension];
        }
        if part.shape() != expected {
            return Err(OpError::Shape {
                op: OP,
                what: "part",
                got: part.shape().to_vec(),
                expected: format!("{:?} but for dimension {dimension}", first.shape()),
            });
        }
        total = total.saturating_add(part.shape()[dimension]);
    }
    let row_stride = extent(OP, "elements of a row", total.saturating_mul(inner))?;
    let rows = extent(OP, "rows", rows)?;
    let (mut launches, mut offset) = (Vec::new(), 0);
    for part in parts {
        let columns = extent(OP, "columns", part.shape()[dimension] * inner)?;
        let copy = StridedCopy {
            rows,
            columns,
            width,
            source: Place {
                offset: 0,
                row_stride: columns,
            },
            target: Place { offset, row_stride },
        };
        launches.push(copy.launch()?);
        offset += columns;
    }
    let mut shape = first.shape().to_vec();
    shape[dimension] = total;
    let joined = zeros(recording, OP, first.dtype(), &shape)?;
    for (part, launch) in parts.iter().zip(launches) {
        recording.dispatch(launch, &[(1, part.buffer()), (8, joined.buffer())])?;
    }
    Ok(joined)
}

/// The part of x within `range` along `dimension`, copied.
///
/// # Errors
/// [`OpError`] for a range that is empty or past the extent, elements that are neither 16 nor 32 bits, and
/// 16-bit rows of which a word would be split; nothing is recorded then.
pub fn slice(
    recording: &mut Recording,
    x: &Tensor,
    dimension: usize,
    range: Range<usize>,
) -> Result<Tensor, OpError> {
    const OP: &str = "slice";
    let (rows, inner) = around(OP, x, dimension)?;
    let has = x.shape()[dimension];
    if range.is_empty() || range.end > has {
        return Err(OpError::Shape {
            op: OP,
            what: "range",
            got: vec![range.start, range.end],
            expected: format!("a start below the end, which is at most {has}"),
        });
    }
    let columns = extent(OP, "columns", range.len() * inner)?;
    let launch = StridedCopy {
        rows: extent(OP, "rows", rows)?,
        columns,
        width: width(OP, x)?,
        source: Place {
            offset: extent(OP, "offset", range.start * inner)?,
            row_stride: extent(OP, "elements of a row", has * inner)?,
        },
        target: Place {
            offset: 0,
            row_stride: columns,
        },
    }
    .launch()?;
    let mut shape = x.shape().to_vec();
    shape[dimension] = range.len();
    let part = zeros(recording, OP, x.dtype(), &shape)?;
    recording.dispatch(launch, &[(1, x.buffer()), (8, part.buffer())])?;
    Ok(part)
}

/// Writes x over another tensor of its type and shape.
///
/// # Errors
/// [`OpError`] for another type or shape, and elements that are neither 16 nor 32 bits; nothing is recorded then.
pub fn copy_over(recording: &mut Recording, x: &Tensor, target: &Tensor) -> Result<(), OpError> {
    const OP: &str = "copy over";
    check_type(OP, "target", target, x.dtype())?;
    check_shape(OP, "target", target, x.shape())?;
    let columns = extent(OP, "elements", x.len())?;
    let whole = Place {
        offset: 0,
        row_stride: columns,
    };
    let launch = StridedCopy {
        rows: 1,
        columns,
        width: width(OP, x)?,
        source: whole,
        target: whole,
    }
    .launch()?;
    Ok(recording.dispatch(launch, &[(1, x.buffer()), (8, target.buffer())])?)
}

/// Memory to copy into: copies keep what they do not write, so it must hold something.
fn zeros(
    recording: &mut Recording,
    op: &'static str,
    dtype: DType,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let made = Tensor::new(dtype, shape);
    let words = made.buffer().bytes().div_ceil(4);
    let count = extent(
        op,
        "words of the result",
        usize::try_from(words).unwrap_or(usize::MAX),
    )?;
    let launch = Fill { count, value: 0 }.launch()?;
    recording.dispatch(launch, &[(8, made.buffer())])?;
    Ok(made)
}

/// Products of the extents before and behind a dimension.
fn around(op: &'static str, x: &Tensor, dimension: usize) -> Result<(usize, usize), OpError> {
    let shape = x.shape();
    if dimension >= shape.len() {
        return Err(OpError::Shape {
            op,
            what: "x",
            got: shape.to_vec(),
            expected: format!("a dimension {dimension}"),
        });
    }
    let (before, behind) = (&shape[..dimension], &shape[dimension + 1..]);
    Ok((before.iter().product(), behind.iter().product()))
}

fn width(op: &'static str, x: &Tensor) -> Result<Width, OpError> {
    match x.dtype() {
        DType::F32 | DType::U32 | DType::I32 => Ok(Width::Bits32),
        DType::F16 | DType::BF16 => Ok(Width::Bits16),
        got => Err(OpError::Type {
            op,
            what: "x",
            got,
            expected: "of 16 or 32 bits",
        }),
    }
}
