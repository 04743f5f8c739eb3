//! A product with a pruned weight asked for in words: `2:4x16,int8-channel`, `block16x16,75%`,
//! `delta4,90%,x-f16`.

use crate::kernels::{Epilogue, FloatType, Workload, WorkloadError};
use crate::num::{
    BlockShape, DeltaBits, NmPattern, QuantFormat, SparseFormat, SparseLayout, StoredFormat,
    ValueType,
};

use super::{SparseMatmul, Stored};

/// Sparsity of blocks and single weights where none is named.
const SPARSITY: f64 = 0.75;

/// The product that a workload `MxNxK` asks for. `default` is the kernel's layout where none is named;
/// `parse` reads one.
pub fn asked(
    asked: &mut Workload<'_>,
    default: SparseLayout,
    (allowed, parse): (&str, fn(&str) -> Option<SparseLayout>),
) -> Result<SparseMatmul, WorkloadError> {
    let [m, n, k] = asked.extents("MxNxK")?;
    let layout = asked.take(allowed, parse).unwrap_or(default);
    let sparsity = match layout {
        SparseLayout::Nm(_) => None,
        SparseLayout::Block(_) | SparseLayout::Delta(_) => asked.take("75% and the like", percent),
    };
    let x = asked.choose(&[("x-f32", FloatType::F32), ("x-f16", FloatType::F16)]);
    let floats = [("f32", ValueType::F32), ("f16", ValueType::F16)];
    let values = match asked.choose(&floats) {
        Some(value_type) => StoredFormat::Float(value_type),
        None => match asked.weight_named() {
            Some(format) => StoredFormat::Quantized(format),
            None => StoredFormat::Float(ValueType::F32),
        },
    };
    let format = SparseFormat { layout, values };
    Ok(SparseMatmul {
        m,
        n,
        k,
        x: x.unwrap_or(FloatType::F32),
        format,
        stored: stored(format, [n, k], sparsity.unwrap_or(SPARSITY)),
        epilogue: Epilogue::default(),
        out: FloatType::F32,
    })
}

/// Counts of a matrix whose rows keep alike.
fn stored(format: SparseFormat, [n, k]: [u32; 2], sparsity: f64) -> Stored {
    let kept = |total: u32| ((1.0 - sparsity) * f64::from(total)).round() as u32;
    match format.layout {
        SparseLayout::Nm(pattern) => Stored::of_nm(n, pattern.kept(k as usize) as u32),
        SparseLayout::Block(shape) => {
            let [rows, columns] = shape.grid(n as usize, k as usize);
            let longest = kept(columns as u32);
            Stored {
                count: (rows as u32).saturating_mul(longest),
                longest,
            }
        }
        SparseLayout::Delta(_) => {
            let multiple = match format.values {
                StoredFormat::Quantized(QuantFormat {
                    granularity: crate::num::Granularity::Group(size),
                    ..
                }) => size.max(1),
                StoredFormat::Quantized(_) | StoredFormat::Float(_) => 8,
            };
            let longest = kept(k)
                .checked_next_multiple_of(multiple)
                .unwrap_or(u32::MAX);
            Stored {
                count: n.saturating_mul(longest),
                longest,
            }
        }
    }
}

fn percent(word: &str) -> Option<f64> {
    let percent: f64 = word.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

/// `2:4`, `4:8x16`.
pub fn nm(word: &str) -> Option<SparseLayout> {
    let (n, rest) = word.split_once(':')?;
    let (m, vector) = rest.split_once('x').unwrap_or((rest, "1"));
    let pattern = NmPattern::new(n.parse().ok()?, m.parse().ok()?, vector.parse().ok()?);
    pattern.ok().map(SparseLayout::Nm)
}

/// `block16x16`.
pub fn block(word: &str) -> Option<SparseLayout> {
    let (rows, columns) = word.strip_prefix("block")?.split_once('x')?;
    let shape = BlockShape::new(rows.parse().ok()?, columns.parse().ok()?);
    shape.ok().map(SparseLayout::Block)
}

/// `delta4` or `delta8`.
pub fn delta(word: &str) -> Option<SparseLayout> {
    match word {
        "delta4" => Some(SparseLayout::Delta(DeltaBits::Four)),
        "delta8" => Some(SparseLayout::Delta(DeltaBits::Eight)),
        _ => None,
    }
}
