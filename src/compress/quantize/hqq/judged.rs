//! HQQ with a judge: rows whose outputs it does not help stay rounded to nearest.

use super::super::linear::Linear;
use super::super::matrix::LinearMatrix;
use super::super::nearest::round_to_nearest;
use super::{Hqq, hqq};
use crate::compress::{CompressError, Hessian, Weights};
use crate::num::Width;
use crate::num::{Granularity, QuantizedMatrix, QuantizedParts};

/// [`hqq()`] of a layer whose inputs are known.
///
/// HQQ makes the errors of the weights small and does not see the inputs, so of a layer with few rows or inputs with
/// few causes the outputs may lose more than under rounding to nearest. Here every row, whose outputs depend on no
/// other row, is the better of the two by `d H d^T`: the loss of a layer is at most that of either, on the inputs
/// that judge.
///
/// # Errors
/// As [`hqq()`]; a Hessian of another width or without samples.
pub fn hqq_judged(
    weights: &Weights<'_>,
    hessian: &Hessian,
    (width, granularity): (Width, Granularity),
    options: &Hqq,
) -> Result<LinearMatrix, CompressError> {
    let name = weights.name();
    hessian.check(name, weights.k())?;
    let found = hqq(weights, width, granularity, options)?;
    let nearest = round_to_nearest(weights, &Linear::asymmetric(width, granularity))?;
    let nearest = spread(name, &nearest, found.spacing())?;
    let losses = |matrix: &QuantizedMatrix| {
        let values = matrix.dequantize();
        hessian.row_losses(name, &weights.differences(&values))
    };
    let (own, other) = (losses(found.matrix())?, losses(&nearest)?);
    let is_better: Vec<bool> = own
        .iter()
        .zip(&other)
        .map(|(own, other)| own <= other)
        .collect();
    let matrix = rows_of(name, (found.matrix(), &nearest), &is_better)?;
    Ok(LinearMatrix::new(matrix, width, found.spacing()))
}

/// The same values in codes that are `spacing` apart.
fn spread(
    name: &str,
    nearest: &LinearMatrix,
    spacing: i32,
) -> Result<QuantizedMatrix, CompressError> {
    let matrix = nearest.matrix();
    let codes = matrix.unpacked_codes();
    let codes: Vec<i8> = codes
        .iter()
        .map(|&code| (i32::from(code) * spacing) as i8)
        .collect();
    let step = |scale: &f32| {
        let scale = f64::from(*scale) / f64::from(spacing);
        super::round_scale(scale, matrix.format().scale_type) as f32
    };
    let scales: Vec<f32> = matrix.scales().iter().map(step).collect();
    let zeros = matrix.zeros().unwrap_or_default();
    let zeros: Vec<i8> = zeros.iter().map(|&zero| (zero * spacing) as i8).collect();
    let parts = QuantizedParts {
        codes: &codes,
        scales: &scales,
        zeros: Some(&zeros),
        ..like(matrix)
    };
    Ok(QuantizedMatrix::from_codes(name, &parts)?)
}

/// Rows of the first matrix where `is_first`, else of the second. Both have zero points and the same format.
fn rows_of(
    name: &str,
    (first, second): (&QuantizedMatrix, &QuantizedMatrix),
    is_first: &[bool],
) -> Result<QuantizedMatrix, CompressError> {
    let groups = first.groups_per_row();
    let codes = merged(
        (first.unpacked_codes(), second.unpacked_codes()),
        first.k(),
        is_first,
    );
    let scales = merged(
        (first.scales().to_vec(), second.scales().to_vec()),
        groups,
        is_first,
    );
    let zeros = |matrix: &QuantizedMatrix| matrix.zeros().unwrap_or_default().to_vec();
    let zeros = merged((zeros(first), zeros(second)), groups, is_first);
    let zeros: Vec<i8> = zeros.iter().map(|&zero| zero as i8).collect();
    let parts = QuantizedParts {
        codes: &codes,
        scales: &scales,
        zeros: Some(&zeros),
        ..like(first)
    };
    Ok(QuantizedMatrix::from_codes(name, &parts)?)
}

/// Rows of `width` elements of the first where `is_first`, else of the second.
fn merged<T: Copy>((first, second): (Vec<T>, Vec<T>), width: usize, is_first: &[bool]) -> Vec<T> {
    let rows = first.chunks_exact(width).zip(second.chunks_exact(width));
    rows.zip(is_first)
        .flat_map(|((first, second), &is_first)| if is_first { first } else { second })
        .copied()
        .collect()
}

/// Format and extents of a matrix, without its content.
fn like(matrix: &QuantizedMatrix) -> QuantizedParts<'static> {
    QuantizedParts {
        bits: matrix.format().bits,
        granularity: matrix.format().granularity,
        n: matrix.n(),
        k: matrix.k(),
        codes: &[],
        scales: &[],
        scale_type: matrix.format().scale_type,
        zeros: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::testing::{correlated, normal};

    /// Losses by row of rounding to nearest, of HQQ and of the better of the two.
    fn losses(width: Width, granularity: Granularity, seed: u64) -> [Vec<f64>; 3] {
        let (n, k) = (12, 64);
        let values = normal(n * k, 60 + seed);
        let weights = Weights::new("w", n, k, &values).unwrap();
        let mut hessian = Hessian::new(k);
        hessian.add("x", &correlated(100, k, seed)).unwrap();
        let options = Hqq::default();
        let nearest = round_to_nearest(&weights, &Linear::asymmetric(width, granularity)).unwrap();
        let found = hqq(&weights, width, granularity, &options).unwrap();
        let judged = hqq_judged(&weights, &hessian, (width, granularity), &options).unwrap();
        assert_eq!(judged.spacing(), found.spacing());
        assert_eq!(
            judged.packed_codes("w").unwrap().len(),
            n * k * width.bits() as usize / 8
        );
        [nearest, found, judged].map(|matrix| {
            let changes = weights.differences(&matrix.dequantize());
            hessian.row_losses("w", &changes).unwrap()
        })
    }

    #[test]
    fn every_row_is_the_better_of_both() {
        let mut rows_to_nearest = 0;
        for width in Width::ALL {
            for granularity in [Granularity::Group(16), Granularity::Channel] {
                let [nearest, found, judged] = losses(width, granularity, 1);
                for ((nearest, found), judged) in nearest.iter().zip(&found).zip(&judged) {
                    assert_eq!(*judged, nearest.min(*found), "{width} {granularity:?}");
                    rows_to_nearest += usize::from(nearest < found);
                }
            }
        }
        assert!(rows_to_nearest > 0, "nothing was left to nearest");
    }

    #[test]
    fn refuses_inputs_of_another_width_and_none() {
        let weights = Weights::new("w", 2, 8, &[0.5; 16]).unwrap();
        let mut hessian = Hessian::new(16);
        let refused = |hessian: &Hessian| {
            let how = (Width::Int2, Granularity::Channel);
            hqq_judged(&weights, hessian, how, &Hqq::default())
                .unwrap_err()
                .to_string()
        };
        hessian.add("x", &[1.0; 16]).unwrap();
        assert!(refused(&hessian).contains("columns of the Hessian"));
        assert!(refused(&Hessian::new(8)).contains("the Hessian"));
    }
}
