//! Time of a product against the sparsity of its weight, for every format of pruned weights, beside the
//! dense kernel: from which sparsity on is each format worth having on this adapter?

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::engine::EngineError;
use crate::engine::gpu::GpuEngine;
use crate::kernels::ShapeError;
use crate::kernels::sparse::SparseMatmul;
use crate::num::{
    BlockShape, DeltaBits, DeltaMatrix, Dense, NmPattern, Philox, SparseError, SparseLayout,
    SparseMatrix, ValueFormat,
};
use crate::record::Launch;
use crate::shader::Sources;

use super::store::{Key, Store};
use super::timing::{Method, OnTurn, Timing};
use super::tuner::{Tuned, tune};

/// Shares of zeros that formats without a share of their own are tried at.
const SPARSITIES: [f64; 9] = [0.25, 0.5, 0.625, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98];

/// Time of one format at one sparsity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepPoint {
    /// Share of weights that are zero.
    pub sparsity: f64,
    /// Bytes stored for each weight of the dense matrix.
    pub bytes_per_weight: f64,
    /// The fastest variant's times.
    pub timing: Timing,
    /// That variant.
    pub variant: String,
    /// Dense time over this one.
    pub speedup: f64,
}

/// One format, from few zeros to many.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepLine {
    /// `2:4`, `2:4x32`, `block16x16`, `delta`.
    pub format: String,
    /// Times, by rising sparsity.
    pub points: Vec<SweepPoint>,
    /// Sparsity from which on the format is faster than dense, between two points where the times cross;
    /// `None` where it never is. For a pattern of one sparsity, that one if it is faster there.
    pub crossover: Option<f64>,
}

/// A sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// Adapter name.
    pub adapter: String,
    /// Its driver.
    pub driver: String,
    /// Rows of x, rows of the weight, its columns.
    pub shape: [u32; 3],
    /// Format of the values.
    #[serde(serialize_with = "as_text")]
    pub values: ValueName,
    /// How times were taken.
    pub method: Method,
    /// The dense kernel of the same values.
    pub dense: SweepPoint,
    /// The formats.
    pub lines: Vec<SweepLine>,
    /// The caller ended it early.
    pub stopped: bool,
}

/// A value format by its printed name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueName(pub ValueFormat);

impl fmt::Display for ValueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.stored().fmt(f)
    }
}

fn as_text<S: Serializer>(value: &ValueName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Why a sweep could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// A device error.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A shape no kernel takes.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A matrix that cannot be packed so.
    #[error(transparent)]
    Sparse(#[from] SparseError),
}

/// The fastest of a launch's variants that compute what they should; `None` when the caller stopped it first.
fn fastest(
    engine: &GpuEngine,
    sources: &Sources,
    launch: &Arc<dyn Launch>,
    on_turn: &mut OnTurn<'_>,
) -> Result<Option<(Method, Timing, String)>, EngineError> {
    // A store of its own: what was measured for another shape of the class says nothing about this one.
    let mut store = Store::empty(Key::new(engine.summary(), sources));
    let choice = match tune(engine, sources, &mut store, launch, on_turn)? {
        Tuned::Known(choice) | Tuned::Measured(choice) => choice,
        Tuned::Stopped => return Ok(None),
    };
    let mut evidence = choice.evidence.into_iter();
    let chosen = evidence.find(|one| one.variant == choice.variant);
    let none = || EngineError::Quarantined {
        kernel: launch.kernel(),
        shape: launch.describe(),
    };
    let (Some(chosen), Some(method)) = (chosen, choice.method) else {
        return Err(none());
    };
    Ok(Some((method, chosen.timing, chosen.variant)))
}

/// A random weight pruned to a layout at a sparsity; `None` for an N:M layout at another than its own.
fn pruned(
    [n, k]: [usize; 2],
    layout: Option<SparseLayout>,
    sparsity: f64,
    values: ValueFormat,
) -> Result<SparseMatrix, SparseError> {
    let random = Philox::new(17);
    let mut normal = random.stream(1);
    let mut weights: Vec<f32> = (0..n * k).map(|_| normal.normal()).collect();
    let draw = |row: usize, column: usize| {
        f64::from(random.block([row as u32, column as u32, 2, 0])[0]) / 4_294_967_296.0
    };
    for (at, weight) in weights.iter_mut().enumerate() {
        let [row, column] = [at / k, at % k];
        let is_kept = match layout {
            Some(SparseLayout::Nm(pattern)) => {
                // Which of a group are kept changes no time, as long as it varies.
                let (kept, group) = (pattern.n() as usize, pattern.m() as usize);
                let shift =
                    (draw(row / pattern.vector() as usize, column / group) * 997.0) as usize;
                (column + shift) % group < kept
            }
            Some(SparseLayout::Block(shape)) => {
                draw(row / shape.rows(), column / shape.columns()) >= sparsity
            }
            Some(SparseLayout::Delta(_)) | None => draw(row, column) >= sparsity,
        };
        if !is_kept {
            *weight = 0.0;
        }
    }
    let dense = Dense {
        name: "sweep",
        weights: &weights,
        n,
        k,
    };
    match layout {
        Some(layout) => SparseMatrix::compress(&dense, layout, values),
        None => Ok(SparseMatrix::Delta(DeltaMatrix::compress(
            &dense, None, values,
        )?)),
    }
}

/// Times every format at its sparsities beside the dense kernel. `values` must be symmetric, and per tensor
/// where unstructured weights are to take part.
///
/// # Errors
/// [`SweepError`]. Formats that cannot hold the values (such as one scale a row for single weights) are left
/// out, and so is a pattern that does not divide k.
pub fn sweep(
    engine: &GpuEngine,
    sources: &Sources,
    [m, n, k]: [u32; 3],
    values: ValueFormat,
    on_turn: &mut OnTurn<'_>,
) -> Result<Option<Sweep>, SweepError> {
    let extents = [n as usize, k as usize];
    let nm = |kept, group, vector| {
        let pattern = NmPattern::new(kept, group, vector).ok()?;
        k.is_multiple_of(group).then_some(SparseLayout::Nm(pattern))
    };
    let block = |rows, columns| BlockShape::new(rows, columns).ok().map(SparseLayout::Block);
    let layouts = [
        nm(2, 4, 1),
        nm(2, 4, 16),
        nm(2, 4, 32),
        nm(4, 8, 1),
        nm(1, 4, 1),
        nm(1, 4, 32),
        nm(1, 8, 1),
        block(16, 16),
        block(32, 32),
        Some(SparseLayout::Delta(DeltaBits::Four)),
    ];

    // The dense counterpart of the first pattern is the dense kernel of these values.
    let shape_of = |matrix: &SparseMatrix| SparseMatmul::of(matrix, m);
    let two_four = pruned(extents, nm(2, 4, 1).or(block(16, 16)), 0.5, values)?;
    let dense_launch = shape_of(&two_four).dense()?;
    let dense_bytes = two_four.dense_bytes() as f64 / (f64::from(n) * f64::from(k));
    let Some((method, timing, variant)) = fastest(engine, sources, &dense_launch, on_turn)? else {
        return Ok(None);
    };
    let dense = SweepPoint {
        sparsity: 0.0,
        bytes_per_weight: dense_bytes,
        timing,
        variant,
        speedup: 1.0,
    };
    let mut made = Sweep {
        adapter: engine.summary().name.clone(),
        driver: engine.summary().driver.clone(),
        shape: [m, n, k],
        values: ValueName(values),
        method,
        dense,
        lines: Vec::new(),
        stopped: false,
    };
    for layout in layouts.into_iter().flatten() {
        let own = match layout {
            SparseLayout::Nm(pattern) => {
                Some(1.0 - f64::from(pattern.n()) / f64::from(pattern.m()))
            }
            SparseLayout::Block(_) | SparseLayout::Delta(_) => None,
        };
        let sparsities = own.map_or(SPARSITIES.to_vec(), |one| vec![one]);
        // Single weights take whichever width of distances stores fewer bytes.
        let (format, asked) = match layout {
            SparseLayout::Delta(_) => ("delta".to_owned(), None),
            SparseLayout::Nm(_) | SparseLayout::Block(_) => (layout.to_string(), Some(layout)),
        };
        let mut points = Vec::new();
        for sparsity in sparsities {
            let Ok(matrix) = pruned(extents, asked, sparsity, values) else {
                break;
            };
            let launch = shape_of(&matrix).launch()?;
            let mut told = |label: &str| on_turn(&format!("{format} at {sparsity}: {label}"));
            let Some((_, timing, variant)) = fastest(engine, sources, &launch, &mut told)? else {
                made.stopped = true;
                break;
            };
            points.push(SweepPoint {
                sparsity: matrix.sparsity(),
                bytes_per_weight: matrix.bytes_per_weight(),
                speedup: made.dense.timing.median_ns / timing.median_ns,
                timing,
                variant,
            });
        }
        if !points.is_empty() {
            let crossover = crossover(&points);
            made.lines.push(SweepLine {
                format,
                points,
                crossover,
            });
        }
        if made.stopped {
            break;
        }
    }
    Ok(Some(made))
}

/// Where the speedup passes 1 for good, by a straight line between the points on either side.
fn crossover(points: &[SweepPoint]) -> Option<f64> {
    let first = points.iter().rposition(|point| point.speedup <= 1.0);
    match first {
        None => points.first().map(|point| point.sparsity),
        Some(last_slow) => {
            let (slow, fast) = (&points[last_slow], points.get(last_slow + 1)?);
            let share = (1.0 - slow.speedup) / (fast.speedup - slow.speedup);
            Some(slow.sparsity + share * (fast.sparsity - slow.sparsity))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(speedups: &[(f64, f64)]) -> Vec<SweepPoint> {
        let timing = Timing::of(vec![1.0, 1.0, 1.0]).expect("times");
        let point = |&(sparsity, speedup)| SweepPoint {
            sparsity,
            bytes_per_weight: 4.0,
            timing: timing.clone(),
            variant: String::new(),
            speedup,
        };
        speedups.iter().map(point).collect()
    }

    #[test]
    fn the_crossover_lies_between_the_last_slow_and_the_first_fast_point() {
        let found = crossover(&points(&[(0.5, 0.5), (0.75, 0.8), (0.9, 1.2)]));
        assert!((found.expect("crosses") - 0.825).abs() < 1e-12);
        assert_eq!(crossover(&points(&[(0.5, 0.5), (0.9, 0.9)])), None);
        assert_eq!(crossover(&points(&[(0.5, 1.5), (0.9, 2.0)])), Some(0.5));
    }

    #[test]
    fn patterns_keep_what_they_say() {
        let layout = SparseLayout::Nm(NmPattern::new(2, 4, 16).expect("a pattern"));
        let made = pruned([32, 64], Some(layout), 0.5, ValueFormat::F32).expect("packs");
        assert!((made.sparsity() - 0.5).abs() < 1e-9);
        let single = pruned([64, 256], None, 0.9, ValueFormat::F32).expect("packs");
        assert!((single.sparsity() - 0.9).abs() < 0.01);
    }
}
