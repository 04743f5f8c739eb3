//! GPTQ: columns are rounded one after the other and the rest of the row makes up for the error.
//!
//! It lowers `tr(D H D^T)`, the layer's output error on the calibration inputs, instead of the error of
//! each weight. With `H` a multiple of the identity nothing is passed on and the result is rounding to
//! nearest, bit for bit.
//!
//! Groups are runs of columns in our formats, so an order other than the natural one needs the scales of
//! groups before it starts (*static groups*); that combination is the default of llm-compressor.
//!
//! Source: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ" (ICLR 2023) and its code; the sweep is
//! [`crate::compress`]'s own.

use std::ops::Range as Columns;

use super::grid::Grid;
use super::linear::Linear;
use super::matrix::LinearMatrix;
use super::nearest::{Grids, round_to_nearest};
use super::range::Chooser;
use crate::compress::sweep::{DeadColumns, Replace, sweep};
use crate::compress::{CompressError, Hessian, Weights};
use crate::num::Granularity;

/// The order in which columns are rounded, and when the scales of groups are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From left to right; a group's scale is found when its first column is reached, from the weights
    /// as updated by then.
    Natural,
    /// From left to right with scales found before.
    NaturalStatic,
    /// By falling diagonal of the Hessian (*act-order*), of equal ones the lower column first; scales
    /// found before.
    #[default]
    Activation,
}

/// Numbers of the method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gptq {
    /// Columns whose updates are made at once.
    pub block: usize,
    /// Added to the diagonal of the Hessian, as a share of its mean; raised tenfold up to three times
    /// where the Hessian is not positive definite.
    pub damping: f64,
    /// Order of the columns.
    pub order: Order,
    /// What becomes of features that were never seen.
    pub dead: DeadColumns,
}

/// Blocks of 128 columns, 1% damping, by activation.
impl Default for Gptq {
    fn default() -> Self {
        Self {
            block: 128,
            damping: 0.01,
            order: Order::default(),
            dead: DeadColumns::default(),
        }
    }
}

/// By which way a matrix came about.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// The sweep.
    Solved {
        /// Damping that it took, as a share of the mean diagonal.
        damping: f64,
        /// Features never seen above zero.
        dead: Vec<usize>,
    },
    /// Rounding to nearest, and why.
    Nearest {
        /// The reason, as a sentence without a full stop.
        reason: String,
    },
}

/// A quantized layer.
#[derive(Clone, Debug, PartialEq)]
pub struct GptqResult {
    /// Its codes.
    pub matrix: LinearMatrix,
    /// `tr(D H D^T)` of it.
    pub loss: f64,
    /// `tr(D H D^T)` of rounding to nearest.
    pub nearest_loss: f64,
    /// How it came about.
    pub route: Route,
}

/// Quantizes a layer by its inputs' Hessian. The loss is never above that of rounding to nearest: where
/// the sweep fails or loses, the result is rounding to nearest and says why.
///
/// # Errors
/// [`CompressError`] naming the tensor: what [`round_to_nearest`] refuses, a Hessian of another width or
/// without samples, a block of 0, damping that is not above 0.
pub fn gptq(
    weights: &Weights<'_>,
    hessian: &Hessian,
    linear: &Linear,
    options: &Gptq,
) -> Result<GptqResult, CompressError> {
    let (name, k) = (weights.name(), weights.k());
    hessian.check(name, k)?;
    let block = options.block;
    CompressError::check_range(name, "block", block as f64, block > 0, "1 or more")?;
    let damping = options.damping;
    let inside = damping > 0.0 && damping.is_finite();
    CompressError::check_range(name, "damping", damping, inside, "above 0")?;

    let nearest = round_to_nearest(weights, linear)?;
    let nearest_loss = loss(weights, hessian, &nearest)?;
    let fall_back = |reason: String| {
        log::warn!("{name}: rounded to nearest: {reason}");
        GptqResult {
            matrix: nearest.clone(),
            loss: nearest_loss,
            nearest_loss,
            route: Route::Nearest { reason },
        }
    };
    let (matrix, route) = match solve(weights, hessian, linear, options) {
        Ok(solved) => solved,
        Err(error) => return Ok(fall_back(error.to_string())),
    };
    let loss = loss(weights, hessian, &matrix)?;
    if loss > nearest_loss {
        let reason = format!("its loss {nearest_loss:e} is below {loss:e} of the sweep");
        return Ok(fall_back(reason));
    }
    Ok(GptqResult {
        matrix,
        loss,
        nearest_loss,
        route,
    })
}

/// `tr(D H D^T)` of a quantized layer.
fn loss(
    weights: &Weights<'_>,
    hessian: &Hessian,
    matrix: &LinearMatrix,
) -> Result<f64, CompressError> {
    hessian.loss(weights.name(), &weights.differences(&matrix.dequantize()))
}

fn solve(
    weights: &Weights<'_>,
    hessian: &Hessian,
    linear: &Linear,
    options: &Gptq,
) -> Result<(LinearMatrix, Route), CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    let mut order: Vec<usize> = (0..k).collect();
    if options.order == Order::Activation {
        let diagonal = hessian.diagonal();
        order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]));
    }
    let factor = hessian.factor(name, options.damping, &order)?;
    let dead = hessian.dead();
    let mut values = weights.to_f64();
    if options.dead == DeadColumns::Zero {
        for row in values.chunks_exact_mut(k) {
            dead.iter().for_each(|&column| row[column] = 0.0);
        }
    }
    let grids = Grids::fit(name, linear, &values, k)?;
    let refit = match (options.order, linear.granularity) {
        (Order::Natural, Granularity::Group(size)) => {
            let chooser = Chooser::new(name, linear, values.chunks_exact(size as usize))?;
            Some((size as usize, chooser))
        }
        // Channels and tensors have one group, whose scale is found at the first column either way.
        _ => None,
    };
    let mut rounding = Rounding {
        name,
        linear,
        order: &order,
        grids,
        refit,
        codes: vec![0; n * k],
        k,
    };
    let mut ordered = Vec::with_capacity(n * k);
    for row in values.chunks_exact(k) {
        ordered.extend(order.iter().map(|&column| row[column]));
    }
    sweep(&mut ordered, k, &factor.upper, options.block, &mut rounding)?;
    if let Some(index) = ordered.iter().position(|value| !value.is_finite()) {
        return Err(CompressError::NotFinite {
            tensor: name.to_owned(),
            what: "updated weight",
            index,
            value: ordered[index],
        });
    }
    let Rounding { grids, codes, .. } = rounding;
    let matrix = grids.matrix(name, linear, n, k, &codes)?;
    let damping = factor.damping;
    Ok((matrix, Route::Solved { damping, dead }))
}

/// Rounds to the codes of a weight's group.
struct Rounding<'a> {
    name: &'a str,
    linear: &'a Linear,
    /// The matrix's column of each column of the sweep.
    order: &'a [usize],
    grids: Grids,
    /// Group size and range choice, where scales are found on the way.
    refit: Option<(usize, Chooser)>,
    /// `[n, k]` in the matrix's order.
    codes: Vec<i8>,
    k: usize,
}

impl Replace for Rounding<'_> {
    fn start_block(&mut self, _: Columns<usize>, _: &[f64]) -> Result<(), CompressError> {
        Ok(())
    }

    fn replace(
        &mut self,
        row: usize,
        column: usize,
        weights: &[f64],
    ) -> Result<f64, CompressError> {
        if let Some((size, chooser)) = &self.refit
            && column.is_multiple_of(*size)
        {
            let range = chooser.range(self.linear, &weights[column..column + size]);
            let grid = Grid::fit(self.linear, range);
            self.grids.replace(self.name, row, column, grid)?;
        }
        let own_column = self.order[column];
        let grid = self.grids.of(row, own_column);
        let code = grid.code(weights[column]);
        self.codes[row * self.k + own_column] = code as i8;
        Ok(grid.value(code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::{RangeChoice, Width};
    use crate::compress::testing::{correlated, normal};

    const ORDERS: [Order; 3] = [Order::Natural, Order::NaturalStatic, Order::Activation];

    fn identity(k: usize) -> Hessian {
        let mut sums = vec![0.0; k * k];
        (0..k).for_each(|i| sums[i * (k + 1)] = 3.0);
        Hessian::from_sums("x", k, 6, sums).unwrap()
    }

    fn options(order: Order, block: usize) -> Gptq {
        Gptq {
            order,
            block,
            ..Gptq::default()
        }
    }

    #[test]
    fn with_an_identity_hessian_it_is_rounding_to_nearest_exactly() {
        let values = normal(9 * 48, 0);
        let weights = Weights::new("w", 9, 48, &values).unwrap();
        for width in Width::ALL {
            for linear in [
                Linear::symmetric(width, Granularity::Group(16)),
                Linear::asymmetric(width, Granularity::Channel),
                Linear {
                    range: RangeChoice::MSE,
                    ..Linear::symmetric(width, Granularity::Tensor)
                },
            ] {
                let nearest = round_to_nearest(&weights, &linear).unwrap();
                for order in ORDERS {
                    let found =
                        gptq(&weights, &identity(48), &linear, &options(order, 20)).unwrap();
                    assert_eq!(found.matrix, nearest, "{linear} {order:?}");
                    assert!(matches!(found.route, Route::Solved { damping: 0.01, .. }));
                }
            }
        }
    }

    #[test]
    fn the_sweep_beats_rounding_to_nearest_on_correlated_inputs() {
        for seed in 0..4 {
            let values = normal(12 * 64, 10 + seed);
            let weights = Weights::new("w", 12, 64, &values).unwrap();
            let mut hessian = Hessian::new(64);
            hessian.add("x", &correlated(200, 64, seed)).unwrap();
            for width in [Width::Int6, Width::Int4, Width::Int3, Width::Int2] {
                for granularity in [Granularity::Group(32), Granularity::Channel] {
                    let linear = Linear::asymmetric(width, granularity);
                    for order in ORDERS {
                        let found = gptq(&weights, &hessian, &linear, &options(order, 24)).unwrap();
                        let solved = matches!(found.route, Route::Solved { .. });
                        assert!(solved, "{linear} {order:?}: {:?}", found.route);
                        assert!(found.loss < found.nearest_loss, "{linear} {order:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_change_nothing_but_the_last_bits() {
        let values = normal(5 * 40, 3);
        let weights = Weights::new("w", 5, 40, &values).unwrap();
        let mut hessian = Hessian::new(40);
        hessian.add("x", &correlated(100, 40, 9)).unwrap();
        let linear = Linear::symmetric(Width::Int3, Granularity::Channel);
        let codes = |block| {
            let found = gptq(
                &weights,
                &hessian,
                &linear,
                &options(Order::Activation, block),
            );
            found.unwrap().matrix
        };
        assert_eq!(codes(1), codes(40));
        assert_eq!(codes(7), codes(128));
    }

    #[test]
    fn a_layer_that_cannot_be_solved_is_rounded_and_says_why() {
        let values = normal(2 * 8, 4);
        let weights = Weights::new("fc1", 2, 8, &values).unwrap();
        let mut sums = vec![0.0; 64];
        (0..8).for_each(|i| sums[i * 9] = 1.0);
        // A correlation of 40 is no correlation.
        (sums[8], sums[1]) = (40.0, 40.0);
        let hessian = Hessian::from_sums("fc1", 8, 1, sums).unwrap();
        let linear = Linear::symmetric(Width::Int4, Granularity::Channel);
        let found = gptq(&weights, &hessian, &linear, &Gptq::default()).unwrap();
        assert_eq!(found.matrix, round_to_nearest(&weights, &linear).unwrap());
        let Route::Nearest { reason } = found.route else {
            panic!("{:?}", found.route)
        };
        assert!(reason.contains("not positive definite"), "{reason}");
    }

    #[test]
    fn a_feature_never_seen_is_zeroed_or_kept_as_asked() {
        let values = normal(3 * 8, 5);
        let weights = Weights::new("w", 3, 8, &values).unwrap();
        let mut x = correlated(50, 8, 2);
        x.iter_mut()
            .skip(3)
            .step_by(8)
            .for_each(|value| *value = 0.0);
        let mut hessian = Hessian::new(8);
        hessian.add("x", &x).unwrap();
        let linear = Linear::symmetric(Width::Int8, Granularity::Channel);
        let column = |dead| {
            let options = Gptq {
                dead,
                ..Gptq::default()
            };
            let found = gptq(&weights, &hessian, &linear, &options).unwrap();
            let Route::Solved { dead, .. } = found.route else {
                panic!("{:?}", found.route)
            };
            assert_eq!(dead, [3]);
            let matrix = found.matrix;
            (0..3)
                .map(|row| matrix.matrix().code(row, 3))
                .collect::<Vec<i32>>()
        };
        assert_eq!(column(DeadColumns::Zero), [0; 3]);
        assert!(column(DeadColumns::Keep).iter().any(|&code| code != 0));
    }

    #[test]
    fn refuses_a_hessian_of_another_layer_and_numbers_out_of_range() {
        let values = normal(2 * 8, 6);
        let weights = Weights::new("w", 2, 8, &values).unwrap();
        let linear = Linear::symmetric(Width::Int4, Granularity::Channel);
        let refused = |hessian: &Hessian, options: &Gptq| {
            gptq(&weights, hessian, &linear, options)
                .unwrap_err()
                .to_string()
        };
        let other = refused(&identity(7), &Gptq::default());
        assert_eq!(other, "w: 7 columns of the Hessian, where 8 are called for");
        assert!(refused(&Hessian::new(8), &Gptq::default()).contains("from 0 values"));
        assert!(refused(&identity(8), &options(Order::Natural, 0)).contains("block = 0"));
        let undamped = Gptq {
            damping: 0.0,
            ..Gptq::default()
        };
        assert!(refused(&identity(8), &undamped).contains("damping = 0"));
    }
}
