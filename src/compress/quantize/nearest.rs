//! Rounding to nearest, group by group.

use super::grid::Grid;
use super::linear::Linear;
use super::matrix::LinearMatrix;
use super::range::Chooser;
use crate::compress::{CompressError, Weights};
use crate::num::{Granularity, QuantError, QuantizedMatrix, QuantizedParts, Zero};

/// The codes of every group of a matrix.
#[derive(Clone, Debug)]
pub(super) struct Grids {
    group_size: usize,
    /// 0 for a tensor, whose rows share one.
    per_row: usize,
    grids: Vec<Grid>,
}

impl Grids {
    /// Fits codes to the groups of `values [n, k]`.
    pub fn fit(
        tensor: &str,
        linear: &Linear,
        values: &[f64],
        k: usize,
    ) -> Result<Self, CompressError> {
        let group_size = linear.group_size(tensor, k)?;
        let (length, per_row) = match linear.granularity {
            Granularity::Tensor => (values.len(), 0),
            Granularity::Channel | Granularity::Group(_) => (group_size, k / group_size),
        };
        let groups = || values.chunks_exact(length);
        let chooser = Chooser::new(tensor, linear, groups())?;
        let mut grids = Vec::with_capacity(values.len() / length);
        for (index, group) in groups().enumerate() {
            let grid = Grid::fit(linear, chooser.range(linear, group));
            check_scale(tensor, index, &grid)?;
            grids.push(grid);
        }
        Ok(Self {
            group_size,
            per_row,
            grids,
        })
    }

    /// The codes of an element.
    pub fn of(&self, row: usize, column: usize) -> &Grid {
        &self.grids[self.index(row, column)]
    }

    /// Other codes for the group of an element.
    pub fn replace(
        &mut self,
        tensor: &str,
        row: usize,
        column: usize,
        grid: Grid,
    ) -> Result<(), CompressError> {
        let index = self.index(row, column);
        check_scale(tensor, index, &grid)?;
        self.grids[index] = grid;
        Ok(())
    }

    fn index(&self, row: usize, column: usize) -> usize {
        if self.per_row == 0 {
            0
        } else {
            row * self.per_row + column / self.group_size
        }
    }

    /// The matrix of these groups with the codes `[n, k]`.
    pub fn matrix(
        &self,
        tensor: &str,
        linear: &Linear,
        n: usize,
        k: usize,
        codes: &[i8],
    ) -> Result<LinearMatrix, CompressError> {
        let scales: Vec<f32> = self.grids.iter().map(|grid| grid.scale as f32).collect();
        let zeros: Option<Vec<i8>> = match linear.rule.zero() {
            Zero::Symmetric => None,
            Zero::ZeroPoint => Some(self.grids.iter().map(|grid| grid.zero as i8).collect()),
        };
        let matrix = QuantizedMatrix::from_codes(
            tensor,
            &QuantizedParts {
                bits: linear.width.container(),
                granularity: linear.granularity,
                n,
                k,
                codes,
                scales: &scales,
                scale_type: linear.scale_type,
                zeros: zeros.as_deref(),
            },
        )?;
        Ok(LinearMatrix::new(matrix, linear.width, 1))
    }
}

/// Refuses a scale that its type cannot hold.
fn check_scale(tensor: &str, group: usize, grid: &Grid) -> Result<(), CompressError> {
    if grid.scale.is_finite() {
        return Ok(());
    }
    Err(QuantError::Scale {
        tensor: tensor.to_owned(),
        scale: grid.scale,
        group,
        allowed: "the largest f16 is 65504; store f32 scales instead",
    }
    .into())
}

/// Rounds every weight to the nearest value of its group.
///
/// Over the full range this is [`crate::num::quantize()`], bit for bit, for the widths and roundings that
/// both have.
///
/// # Errors
/// [`CompressError`] naming the tensor: a group that does not fit, a scale that its type cannot hold, a
/// range choice out of range or with too few values.
pub fn round_to_nearest(
    weights: &Weights<'_>,
    linear: &Linear,
) -> Result<LinearMatrix, CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    let values = weights.to_f64();
    let grids = Grids::fit(name, linear, &values, k)?;
    let codes: Vec<i8> = values
        .iter()
        .enumerate()
        .map(|(index, &value)| grids.of(index / k, index % k).code(value) as i8)
        .collect();
    grids.matrix(name, linear, n, k, &codes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::{RangeChoice, Width};
    use crate::compress::weight_error;
    use crate::num::{Philox, ScaleRule, ScaleType, Scheme, quantize};

    fn normal(count: usize) -> Vec<f32> {
        let mut stream = Philox::new(21).stream(0);
        (0..count).map(|_| 0.1 * stream.normal()).collect()
    }

    fn linear_of(scheme: &Scheme) -> Linear {
        let width = match scheme.bits {
            crate::num::Bits::Int8 => Width::Int8,
            crate::num::Bits::Int4 => Width::Int4,
        };
        Linear {
            width,
            granularity: scheme.granularity,
            rule: scheme.rule,
            scale_type: scheme.scale_type,
            range: RangeChoice::MinMax,
        }
    }

    #[test]
    fn the_full_range_is_the_quantizer_of_num_bit_for_bit() {
        let mut values = normal(6 * 64);
        values[..64].fill(0.0);
        values[64..128].fill(-0.5);
        values[128..136].copy_from_slice(&[0.8, -0.8, 0.1, 0.3, -0.8, 0.8, 0.0, -0.0]);
        let weights = Weights::new("w", 6, 64, &values).unwrap();
        let mut schemes = vec![
            Scheme::int4_group(8),
            Scheme::int4_group(64),
            Scheme::int4_group_zero_point(32),
            Scheme::int4_channel(),
            Scheme::int8_group(16),
            Scheme::int8_channel(),
            Scheme::int8_tensor(),
            Scheme::compressed_tensors_int4(32),
            Scheme::compressed_tensors_int8(),
        ];
        schemes.push(Scheme {
            rule: ScaleRule::MinMax,
            ..Scheme::int8_tensor()
        });
        for scheme in schemes {
            let expected = quantize("w", &values, 6, 64, &scheme).unwrap();
            let found = round_to_nearest(&weights, &linear_of(&scheme)).unwrap();
            assert_eq!(*found.matrix(), expected, "{scheme} {:?}", scheme.rule);
        }
    }

    #[test]
    fn an_error_is_at_most_half_a_step_and_quantizing_again_changes_nothing() {
        let values = normal(8 * 96);
        let weights = Weights::new("w", 8, 96, &values).unwrap();
        for width in Width::ALL {
            for linear in [
                Linear::asymmetric(width, Granularity::Group(32)),
                Linear {
                    rule: ScaleRule::RestrictedAbsMax,
                    scale_type: ScaleType::F32,
                    ..Linear::symmetric(width, Granularity::Channel)
                },
            ] {
                let found = round_to_nearest(&weights, &linear).unwrap();
                let matrix = found.matrix();
                for (index, &value) in values.iter().enumerate() {
                    let (row, column) = (index / 96, index % 96);
                    let group = row * matrix.groups_per_row() + column / matrix.group_size();
                    let step = f64::from(matrix.scales()[group].abs());
                    let error = (matrix.weight(row, column) - f64::from(value)).abs();
                    // Half a step, another half where a rounded zero point shifts the range, and what an
                    // f16 scale is short of the range.
                    let clamped = if linear.rule == ScaleRule::MinMax {
                        0.51
                    } else {
                        0.01
                    };
                    assert!(error <= step * (0.5 + clamped), "{linear} {error} {step}");
                }
                let again = found.dequantize();
                let again = Weights::new("w", 8, 96, &again).unwrap();
                if linear.rule == ScaleRule::RestrictedAbsMax {
                    let again = round_to_nearest(&again, &linear).unwrap();
                    assert_eq!(again.matrix().unpacked_codes(), matrix.unpacked_codes());
                }
            }
        }
    }

    #[test]
    fn more_bits_and_a_chosen_range_lose_less() {
        let values = normal(16 * 128);
        let weights = Weights::new("w", 16, 128, &values).unwrap();
        let snr = |width, range| {
            let linear = Linear {
                range,
                ..Linear::symmetric(width, Granularity::Group(64))
            };
            let found = round_to_nearest(&weights, &linear).unwrap();
            weight_error(&weights, &found.dequantize()).unwrap().snr_db
        };
        let full = Width::ALL.map(|width| snr(width, RangeChoice::MinMax));
        assert!(full.is_sorted(), "{full:?}");
        for (width, full) in Width::ALL.into_iter().zip(full) {
            assert!(snr(width, RangeChoice::MSE) >= full, "{width}");
        }
    }

    #[test]
    fn narrow_codes_pack_to_their_width_and_come_back() {
        let values = normal(3 * 40);
        let weights = Weights::new("w", 3, 40, &values).unwrap();
        for width in Width::ALL {
            let linear = Linear::asymmetric(width, Granularity::Group(8));
            let found = round_to_nearest(&weights, &linear).unwrap();
            let bytes = found.packed_codes("w").unwrap();
            assert_eq!(bytes.len(), 120 * width.bits() as usize / 8);
            let expected = f64::from(width.bits()) + 24.0 / 8.0;
            assert_eq!(found.bits_per_weight(), expected);
            let matrix = found.matrix();
            let zeros: Vec<i8> = matrix
                .zeros()
                .unwrap()
                .iter()
                .map(|&zero| zero as i8)
                .collect();
            let parts = QuantizedParts {
                bits: width.container(),
                granularity: linear.granularity,
                n: 3,
                k: 40,
                codes: &[],
                scales: matrix.scales(),
                scale_type: ScaleType::F16,
                zeros: Some(&zeros),
            };
            let again = LinearMatrix::from_packed("w", width, 1, &bytes, &parts);
            assert_eq!(again, Ok(found.clone()));
            assert!(LinearMatrix::from_packed("w", width, 3, &bytes, &parts).is_err());
        }
    }

    #[test]
    fn refuses_groups_that_do_not_fit_and_scales_past_f16() {
        let values = vec![1e7f32; 2 * 24];
        let weights = Weights::new("fc1", 2, 24, &values).unwrap();
        let refused = |granularity| {
            let linear = Linear::symmetric(Width::Int3, granularity);
            round_to_nearest(&weights, &linear).unwrap_err().to_string()
        };
        assert!(refused(Granularity::Group(16)).contains("k = 24 is not a multiple"));
        assert!(refused(Granularity::Group(12)).contains("not a positive multiple of 8"));
        assert!(refused(Granularity::Group(8)).contains("65504"));
    }
}
