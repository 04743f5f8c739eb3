//! Half-quadratic quantization: zero points from the weights alone, without calibration.
//!
//! HQQ keeps the scale of the full range and moves the zero point `z` of a group so that `|W - W_r|^p`,
//! `p < 1`, gets small: in turn `W_e = shrink(W - W_r)`, `z = mean(W_q - (W - W_e) / s)`, until the mean
//! error grows. Its zero points are floats.
//!
//! Ours are whole container codes, because that is what kernels read, so two things are added:
//!
//! * int2 and int3 codes are spread over the int4 container, every fourth or second code, with the scale
//!   divided likewise, and int6 ones over int8, every fourth. A zero point then has a resolution of a quarter
//!   or half step. At int4 and int8 it has that of a step.
//! * What rounding the zero point loses is made good at the scale: from several narrower ranges the
//!   iteration above is followed by alternating codes and least-squares scales, with the zero points next to
//!   each tried too. Results whose mean absolute or mean squared error is above that of rounding to nearest
//!   are out, so a group never loses by either measure. Of the others the one with the least
//!   `sum e^2 + (sum e)^2` is kept: the expected squared error of the output for inputs that are independent
//!   and have a mean as large as their deviation, as pixels and what follows a ReLU nearly do. A float zero
//!   point makes `sum e` vanish by itself.
//!
//! No group loses by these measures of the weights, but outputs of a layer may, since HQQ sees no inputs.
//! [`hqq_judged`] does, and leaves the rows that it would not help rounded to nearest.
//!
//! Source: Badri, Shaji, "Half-Quadratic Quantization of Large Machine Learning Models" (2023) and its
//! code (`optimize.py`).

mod judged;

use super::grid::{round_scale, scale_floor};
use super::linear::Linear;
use super::matrix::LinearMatrix;
use super::range::{Range, RangeChoice};
use crate::compress::{CompressError, Weights};
use crate::num::Width;
use crate::num::{Granularity, QuantError, QuantizedMatrix, QuantizedParts, ScaleRule, ScaleType};

pub use judged::hqq_judged;

/// Shares of the full range that scales are started from: close together near the whole, where the best
/// int4 scales lie. HQQ itself has the first.
const STARTS: [f64; 9] = [1.0, 0.975, 0.95, 0.925, 0.9, 0.8, 0.7, 0.6, 0.5];

/// Numbers of the method; the defaults are HQQ's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hqq {
    /// Most iterations of each of the two loops.
    pub iterations: u32,
    /// Weight of the quadratic term at the start.
    pub beta: f64,
    /// Growth of `beta` an iteration.
    pub kappa: f64,
    /// Norm whose power is made small, above 0 and at most 1.
    pub norm: f64,
}

impl Default for Hqq {
    fn default() -> Self {
        Self {
            iterations: 20,
            beta: 10.0,
            kappa: 1.01,
            norm: 0.7,
        }
    }
}

/// Quantizes a matrix with zero points, by groups or channels. At int2, int3 and int6 the codes are spread
/// ([`LinearMatrix::spacing`]).
///
/// # Errors
/// [`CompressError`] naming the tensor: a group that does not fit, a scale past its type, a granularity of
/// one scale for the tensor, numbers out of range.
pub fn hqq(
    weights: &Weights<'_>,
    width: Width,
    granularity: Granularity,
    options: &Hqq,
) -> Result<LinearMatrix, CompressError> {
    let (name, n, k) = (weights.name(), weights.n(), weights.k());
    options.check(name)?;
    if granularity == Granularity::Tensor {
        return Err(CompressError::Misfit {
            tensor: name.to_owned(),
            problem: "HQQ with one scale for the whole tensor".to_owned(),
            fix: "choose channels or groups".to_owned(),
        });
    }
    let linear = Linear {
        range: RangeChoice::MinMax,
        ..Linear::asymmetric(width, granularity)
    };
    debug_assert_eq!(linear.rule, ScaleRule::MinMax);
    let group_size = linear.group_size(name, k)?;
    let levels = Levels::new(&linear);
    let mut codes = Vec::with_capacity(n * k);
    let (mut scales, mut zeros) = (Vec::new(), Vec::new());
    let values = weights.to_f64();
    for (index, group) in values.chunks_exact(group_size).enumerate() {
        let found = levels.best(group, options);
        if !found.scale.is_finite() {
            return Err(QuantError::Scale {
                tensor: name.to_owned(),
                scale: found.scale,
                group: index,
                allowed: "the largest f16 is 65504; use channels, which have f32 scales",
            }
            .into());
        }
        codes.extend(group.iter().map(|&value| levels.code(&found, value) as i8));
        scales.push(found.scale as f32);
        zeros.push(found.zero as i8);
    }
    let matrix = QuantizedMatrix::from_codes(
        name,
        &QuantizedParts {
            bits: width.container(),
            granularity,
            n,
            k,
            codes: &codes,
            scales: &scales,
            scale_type: linear.scale_type,
            zeros: Some(&zeros),
        },
    )?;
    Ok(LinearMatrix::new(matrix, width, levels.spacing))
}

impl Hqq {
    fn check(&self, tensor: &str) -> Result<(), CompressError> {
        let check = |what, value, inside, allowed| {
            CompressError::check_range(tensor, what, value, inside, allowed)
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        check("beta", self.beta, positive(self.beta), "above 0")?;
        check("kappa", self.kappa, positive(self.kappa), "above 0")?;
        let inside = self.norm > 0.0 && self.norm <= 1.0;
        check("norm", self.norm, inside, "above 0, at most 1")?;
        let iterations = self.iterations;
        check(
            "iterations",
            f64::from(iterations),
            iterations <= 10_000,
            "at most 10000",
        )
    }
}

/// What a group may be made of.
struct Levels {
    spacing: i32,
    /// Container codes.
    first: i32,
    last: i32,
    /// Largest unsigned code, `2^bits - 1`.
    top: f64,
    scale_floor: f64,
    scale_type: ScaleType,
}

/// Scale and zero point of a group, in container codes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Group {
    scale: f64,
    zero: i32,
}

/// Sums over a group of the errors, their magnitudes and their squares.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    sum: f64,
    magnitudes: f64,
    squares: f64,
}

impl Errors {
    /// The squared error to expect of an output.
    fn output(&self) -> f64 {
        self.squares + self.sum * self.sum
    }
}

impl Levels {
    fn new(linear: &Linear) -> Self {
        let (width, container) = (linear.width, linear.width.container());
        Self {
            spacing: width.widest_spacing(),
            first: container.min(),
            last: container.max(),
            top: f64::from(width.max() - width.min()),
            scale_floor: scale_floor(linear),
            scale_type: linear.scale_type,
        }
    }

    /// What can be stored of a step and a zero point in unsigned codes.
    fn project(&self, step: f64, zero: f64) -> Group {
        let spacing = f64::from(self.spacing);
        let scale = (step / spacing).max(self.scale_floor);
        let zero = (zero * spacing).round_ties_even() + f64::from(self.first);
        Group {
            scale: round_scale(scale, self.scale_type),
            zero: zero.clamp(f64::from(self.first), f64::from(self.last)) as i32,
        }
    }

    /// The container code nearest to a value.
    fn code(&self, group: &Group, value: f64) -> i32 {
        let place = value / group.scale + f64::from(group.zero - self.first);
        let unsigned = (place / f64::from(self.spacing)).round_ties_even();
        unsigned.clamp(0.0, self.top) as i32 * self.spacing + self.first
    }

    /// What a group loses.
    fn errors(&self, group: &Group, values: &[f64]) -> Errors {
        let mut errors = Errors::default();
        for &value in values {
            let back = f64::from(self.code(group, value) - group.zero) * group.scale;
            let error = value - back;
            errors.sum += error;
            errors.magnitudes += error.abs();
            errors.squares += error * error;
        }
        errors
    }

    /// Scale and zero point of a group.
    fn best(&self, values: &[f64], options: &Hqq) -> Group {
        let full = Range::of(values);
        let step = (full.high - full.low) / self.top;
        if step == 0.0 {
            return self.project(0.0, 0.0);
        }
        let start = self.project(step, -full.low / step);
        let nearest = self.errors(&start, values);
        let mut best = (start, nearest.output());
        let mut offer = |group: Group| {
            for zero in [group.zero, group.zero - 1, group.zero + 1] {
                let group = Group { zero, ..group };
                let errors = self.errors(&group, values);
                let allowed = (self.first..=self.last).contains(&zero)
                    && errors.magnitudes <= nearest.magnitudes
                    && errors.squares <= nearest.squares;
                if allowed && errors.output() < best.1 {
                    best = (group, errors.output());
                }
            }
        };
        for share in STARTS {
            let step = step * share;
            let zero = self.move_zero(values, step, -full.low * share / step, options);
            let mut group = self.project(step, zero);
            offer(group);
            for _ in 0..options.iterations {
                let refit = self.refit(&group, values);
                if refit == group {
                    break;
                }
                group = refit;
                offer(group);
            }
        }
        best.0
    }

    /// HQQ's own iteration: the float zero point, in unsigned codes, with the least mean absolute error
    /// that it came by.
    fn move_zero(&self, values: &[f64], step: f64, start: f64, options: &Hqq) -> f64 {
        let (mut zero, mut beta) = (start, options.beta);
        let mut best = (start, f64::INFINITY);
        for _ in 0..options.iterations {
            let (mut sum_abs, mut moved) = (0.0, 0.0);
            for &value in values {
                let code = (value / step + zero).round_ties_even().clamp(0.0, self.top);
                let error = value - (code - zero) * step;
                sum_abs += error.abs();
                moved += code - (value - shrink(error, beta, options.norm)) / step;
            }
            if sum_abs >= best.1 {
                break;
            }
            best = (zero, sum_abs);
            zero = moved / values.len() as f64;
            beta *= options.kappa;
        }
        best.0
    }

    /// The least-squares scale of the codes of a group, its zero point moved to the mean that then
    /// remains.
    fn refit(&self, group: &Group, values: &[f64]) -> Group {
        let (mut products, mut squares) = (0.0, 0.0);
        for &value in values {
            let code = f64::from(self.code(group, value) - group.zero);
            products += value * code;
            squares += code * code;
        }
        if !(products > 0.0 && squares > 0.0) {
            return *group;
        }
        let scale = products / squares;
        let place = |&value: &f64| f64::from(self.code(group, value) - self.first) - value / scale;
        let zero = values.iter().map(place).sum::<f64>() / values.len() as f64;
        let spacing = f64::from(self.spacing);
        self.project(scale * spacing, zero / spacing)
    }
}

/// The proximal step of `|x|^norm`: `sign(x) max(|x| - |x|^(norm - 1) / beta, 0)`.
fn shrink(x: f64, beta: f64, norm: f64) -> f64 {
    if x == 0.0 {
        return 0.0;
    }
    (x.abs() - x.abs().powf(norm - 1.0) / beta)
        .max(0.0)
        .copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::quantize::round_to_nearest;
    use crate::compress::testing::{correlated, normal};
    use crate::compress::{Hessian, weight_error};

    /// What rounding to nearest and HQQ lose of a layer: its weights, and its outputs on `inputs`.
    fn losses(width: Width, granularity: Granularity, id: u64, inputs: &[f32]) -> [[f64; 3]; 2] {
        let (n, k) = (24, 128);
        let values = normal(n * k, 30 + id);
        let weights = Weights::new("w", n, k, &values).unwrap();
        let mut hessian = Hessian::new(k);
        hessian.add("x", inputs).unwrap();
        let linear = Linear::asymmetric(width, granularity);
        let nearest = round_to_nearest(&weights, &linear).unwrap();
        let found = hqq(&weights, width, granularity, &Hqq::default()).unwrap();
        [nearest, found].map(|matrix| {
            let values = matrix.dequantize();
            let error = weight_error(&weights, &values).unwrap();
            let loss = hessian.loss("w", &weights.differences(&values)).unwrap();
            [error.mean_abs, error.rms, loss]
        })
    }

    const WIDTHS: [Width; 3] = [Width::Int4, Width::Int3, Width::Int2];

    #[test]
    fn loses_less_than_rounding_to_nearest_by_every_measure() {
        for seed in 0..3 {
            // Inputs of independent features, which outputs see as the weights' errors add up.
            let inputs = normal(1000 * 128, 90 + seed);
            for width in WIDTHS {
                for granularity in [Granularity::Group(64), Granularity::Channel] {
                    let [nearest, found] = losses(width, granularity, seed, &inputs);
                    for (own, other) in found.into_iter().zip(nearest) {
                        assert!(
                            own < other,
                            "{width} {granularity:?}: {found:?} {nearest:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn on_correlated_inputs_it_wins_over_several_layers() {
        // It does not see the inputs, so a single layer whose inputs have few causes is a matter of luck.
        for width in WIDTHS {
            let (mut own, mut other) = (0.0, 0.0);
            for seed in 0..8 {
                let inputs = correlated(300, 128, seed);
                let [nearest, found] = losses(width, Granularity::Group(64), seed, &inputs);
                own += found[2];
                other += nearest[2];
            }
            assert!(own < other, "{width}: {own} {other}");
        }
    }

    #[test]
    fn spread_codes_are_what_kernels_read_and_pack_to_their_width() {
        let values = normal(3 * 32, 40);
        let weights = Weights::new("w", 3, 32, &values).unwrap();
        for (width, spacing) in [
            (Width::Int2, 4),
            (Width::Int3, 2),
            (Width::Int4, 1),
            (Width::Int6, 4),
        ] {
            let granularity = Granularity::Group(16);
            let found = hqq(&weights, width, granularity, &Hqq::default()).unwrap();
            assert_eq!(found.spacing(), spacing);
            let codes = found.matrix().unpacked_codes();
            assert!(
                codes
                    .iter()
                    .all(|code| (i32::from(*code) - width.container().min()) % spacing == 0)
            );
            let bytes = found.packed_codes("w").unwrap();
            assert_eq!(bytes.len(), 96 * width.bits() as usize / 8);
            let matrix = found.matrix();
            let zeros: Vec<i8> = matrix
                .zeros()
                .unwrap()
                .iter()
                .map(|&zero| zero as i8)
                .collect();
            let parts = QuantizedParts {
                bits: width.container(),
                granularity,
                n: 3,
                k: 32,
                codes: &[],
                scales: matrix.scales(),
                scale_type: ScaleType::F16,
                zeros: Some(&zeros),
            };
            let again = LinearMatrix::from_packed("w", width, spacing, &bytes, &parts);
            assert_eq!(again, Ok(found.clone()));
        }
    }

    #[test]
    fn moving_the_zero_point_never_raises_the_mean_error() {
        let values: Vec<f64> = normal(64, 41)
            .iter()
            .map(|&value| f64::from(value))
            .collect();
        let levels = Levels::new(&Linear::asymmetric(Width::Int2, Granularity::Channel));
        let full = Range::of(&values);
        let step = (full.high - full.low) / levels.top;
        let error = |iterations| {
            let options = Hqq {
                iterations,
                ..Hqq::default()
            };
            let zero = levels.move_zero(&values, step, -full.low / step, &options);
            let one = |value: &f64| {
                let code = (value / step + zero)
                    .round_ties_even()
                    .clamp(0.0, levels.top);
                (value - (code - zero) * step).abs()
            };
            values.iter().map(one).sum::<f64>()
        };
        let errors: Vec<f64> = (1..12).map(error).collect();
        assert!(
            errors.is_sorted_by(|before, after| before >= after),
            "{errors:?}"
        );
    }

    #[test]
    fn zeros_constants_and_one_sided_groups_are_served() {
        let mut values = vec![0.0f32; 4 * 8];
        values[8..16].fill(0.75);
        values[16..24].copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        values[24..].fill(-1e-30);
        let weights = Weights::new("w", 4, 8, &values).unwrap();
        for width in Width::ALL {
            let found = hqq(&weights, width, Granularity::Channel, &Hqq::default()).unwrap();
            let back = found.dequantize();
            assert_eq!(back[..8], [0.0; 8]);
            assert!(back.iter().all(|value| value.is_finite()));
            assert!(
                back[8..16].iter().all(|value| (value - 0.75).abs() < 1e-6),
                "{back:?}"
            );
        }
    }

    #[test]
    fn refuses_a_scale_for_the_tensor_and_numbers_out_of_range() {
        let weights = Weights::new("w", 1, 8, &[1.0; 8]).unwrap();
        let refused = |granularity, options: &Hqq| {
            hqq(&weights, Width::Int4, granularity, options)
                .unwrap_err()
                .to_string()
        };
        let error = refused(Granularity::Tensor, &Hqq::default());
        assert!(error.contains("choose channels or groups"), "{error}");
        let norm = Hqq {
            norm: 2.0,
            ..Hqq::default()
        };
        assert!(refused(Granularity::Channel, &norm).contains("norm = 2"));
    }
}
