//! The methods, under one roof: a weight and what calibration saw of its inputs to a weight in another format.

use crate::compress::model::{Activations, Stored};
use crate::compress::prune::{SparseGpt, Sparsity, sparse_gpt, wanda};
use crate::compress::quantize::{
    Awq, Gptq, Hqq, Linear, LinearMatrix, Width, awq, gptq, hqq, round_to_nearest,
};
use crate::compress::stage::StageError;
use crate::compress::{Calibration, CompressError, Hessian, Weights};
use crate::num::mask::{Amount, Mask, Pattern, Scores, magnitude, select};
use crate::num::{
    DeltaBits, Dense, Granularity, NmPattern, SparseLayout, SparseMatrix, ValueFormat,
};
use crate::tensor::{DType, HostTensor};

/// How linear weights are compressed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Rounded to nearest.
    Nearest(Linear),
    /// GPTQ.
    Gptq(Linear, Gptq),
    /// AWQ. Factors of inputs that an encoder cannot take over stay at the layer.
    Awq(Linear, Awq),
    /// HQQ.
    Hqq {
        /// Of the codes.
        width: Width,
        /// Which weights share a scale.
        granularity: Granularity,
        /// Numbers of the method.
        options: Hqq,
    },
    /// The smallest weights of each matrix go.
    Magnitude(Sparsity),
    /// The weights of each row that move the output least go.
    Wanda(Sparsity),
    /// The same, and the others make up for them.
    SparseGpt(Sparsity, SparseGpt),
}

/// What a method looks at besides the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// Magnitudes of the inputs.
    Ranges,
    /// Their products, and magnitudes.
    Hessian,
}

/// What calibration saw of the inputs of a layer.
#[derive(Debug)]
pub(super) struct Statistics {
    pub(super) calibration: Calibration,
    /// Without samples unless [`Needs::Hessian`].
    pub(super) hessian: Hessian,
}

/// A weight, compressed.
#[derive(Debug, Clone)]
pub struct Compressed {
    /// Its values.
    pub stored: Stored,
    /// What inputs are multiplied by first.
    pub input_factors: Option<Vec<f32>>,
    /// See [`super::CompressedLinear::output_error`].
    pub output_error: Option<f64>,
    /// The same of rounding to nearest, where codes are found.
    pub nearest_error: Option<f64>,
}

impl Method {
    /// What it looks at.
    pub const fn needs(&self) -> Needs {
        match self {
            Self::Nearest(_) | Self::Hqq { .. } | Self::Magnitude(_) => Needs::Nothing,
            Self::Wanda(_) => Needs::Ranges,
            Self::Gptq(..) | Self::Awq(..) | Self::SparseGpt(..) => Needs::Hessian,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nearest(_) => "round to nearest",
            Self::Gptq(..) => "GPTQ",
            Self::Awq(..) => "AWQ",
            Self::Hqq { .. } => "HQQ",
            Self::Magnitude(_) => "magnitude",
            Self::Wanda(_) => "Wanda",
            Self::SparseGpt(..) => "SparseGPT",
        }
    }

    /// Compresses one weight `[n, k]`.
    pub(super) fn compress(
        &self,
        name: &str,
        [n, k]: [usize; 2],
        values: &[f32],
        seen: Option<&Statistics>,
    ) -> Result<Compressed, StageError> {
        let weights = Weights::new(name, n, k, values)?;
        let none = Statistics::new(k);
        let seen = seen.unwrap_or(&none);
        let hessian = &seen.hessian;
        let (mut input_factors, mut nearest_loss) = (None, None);
        let (stored, loss) = match self {
            Self::Nearest(linear) => (quantized(&round_to_nearest(&weights, linear)?), None),
            Self::Gptq(linear, options) => {
                let made = gptq(&weights, hessian, linear, options)?;
                nearest_loss = Some(made.nearest_loss);
                (quantized(&made.matrix), Some(made.loss))
            }
            Self::Awq(linear, options) => {
                let made = awq(&weights, &seen.calibration, hessian, linear, options)?;
                nearest_loss = Some(made.nearest_loss);
                if made.ratio.is_some() {
                    let factors = made.smoothing.factors().iter();
                    input_factors = Some(factors.map(|factor| factor.recip()).collect());
                }
                (quantized(&made.matrix), Some(made.loss))
            }
            Self::Hqq {
                width,
                granularity,
                options,
            } => (
                quantized(&hqq(&weights, *width, *granularity, options)?),
                None,
            ),
            Self::Magnitude(sparsity) => {
                let pattern = match *sparsity {
                    Sparsity::Share(share) => Pattern::Tensor(Amount::Sparsity(share)),
                    Sparsity::NOfM { keep, group } => n_of_m(keep, group),
                };
                let mask = chosen(&weights, &magnitude(values), &pattern)?;
                let kept = mask.apply(name, values)?;
                (pruned(&weights, &kept, *sparsity)?, None)
            }
            Self::Wanda(sparsity) => {
                let pattern = match *sparsity {
                    Sparsity::Share(share) => {
                        Amount::Sparsity(share).kept(name, "weights", k)?;
                        let dropped = (share * k as f64).floor() as usize;
                        Pattern::PerRow(Amount::Keep(k - dropped))
                    }
                    Sparsity::NOfM { keep, group } => n_of_m(keep, group),
                };
                let scores = wanda(&weights, &seen.calibration)?;
                let mask = chosen(&weights, &scores, &pattern)?;
                let kept = mask.apply(name, values)?;
                (pruned(&weights, &kept, *sparsity)?, None)
            }
            Self::SparseGpt(sparsity, options) => {
                let made = sparse_gpt(&weights, hessian, *sparsity, options)?;
                (pruned(&weights, &made.weights, *sparsity)?, Some(made.loss))
            }
        };
        let loss = match loss {
            // Nothing was seen that a change could be judged by.
            None if hessian.n_samples() == 0 => None,
            None => {
                let made = stored.values().to_f32()?;
                Some(hessian.loss(name, &weights.differences(&made))?)
            }
            Some(loss) => Some(loss),
        };
        if matches!(self, Self::Nearest(_)) {
            nearest_loss = loss;
        }
        let whole = match loss {
            Some(_) => {
                let all: Vec<f64> = values.iter().map(|&w| f64::from(w)).collect();
                hessian.loss(name, &all)?
            }
            None => 0.0,
        };
        // None for a layer that gives zeros anyway.
        let share = |loss: Option<f64>| loss.filter(|_| whole > 0.0).map(|loss| loss / whole);
        Ok(Compressed {
            stored,
            input_factors,
            output_error: share(loss),
            nearest_error: share(nearest_loss),
        })
    }
}

impl Compressed {
    /// With the values of a pruned weight rounded to a 16-bit type that its file has, so that the layers behind it
    /// read what those who load it will. Values that the type cannot hold stay as they are.
    pub(super) fn rounded_to(
        mut self,
        (name, dtype): (&str, DType),
        [n, k]: [usize; 2],
    ) -> Result<Self, StageError> {
        let Stored::Sparse { matrix, .. } = &mut self.stored else {
            return Ok(self);
        };
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return Ok(self);
        }
        let kept = HostTensor::from_f32_as(dtype, vec![n, k], &matrix.decompress())?;
        let kept = kept.to_f32()?;
        if kept.iter().all(|value| value.is_finite()) {
            let weights = &kept;
            let dense = Dense {
                name,
                weights,
                n,
                k,
            };
            *matrix = SparseMatrix::compress(&dense, matrix.format().layout, ValueFormat::F32)?;
        }
        Ok(self)
    }
}

impl Statistics {
    pub(super) fn new(k: usize) -> Self {
        Self {
            calibration: Calibration::new(k),
            hessian: Hessian::new(k),
        }
    }

    /// Adds inputs `x [m, k]`.
    pub(super) fn add(&mut self, name: &str, x: &[f32], needs: Needs) -> Result<(), CompressError> {
        self.calibration.add(name, x)?;
        if needs == Needs::Hessian {
            self.hessian.add(name, x)?;
        }
        Ok(())
    }
}

const fn n_of_m(keep: usize, group: usize) -> Pattern {
    let vector = 1;
    Pattern::NOfM {
        keep,
        group,
        vector,
    }
}

fn chosen(weights: &Weights<'_>, scores: &[f32], pattern: &Pattern) -> Result<Mask, StageError> {
    let scores = Scores::new(weights.name(), weights.n(), weights.k(), scores)?;
    Ok(select(&scores, pattern)?)
}

fn quantized(made: &LinearMatrix) -> Stored {
    let shape = vec![made.matrix().n(), made.matrix().k()];
    Stored::Quantized {
        shape,
        matrix: made.clone(),
        activations: Activations::Float,
    }
}

/// Without its zeros: N:M where the kernels have the pattern, else as single weights.
fn pruned(weights: &Weights<'_>, kept: &[f32], sparsity: Sparsity) -> Result<Stored, StageError> {
    let (n, k) = (weights.n(), weights.k());
    let dense = Dense {
        name: weights.name(),
        weights: kept,
        n,
        k,
    };
    let pattern = match sparsity {
        Sparsity::Share(_) => None,
        Sparsity::NOfM { keep, group } => {
            let pair = u32::try_from(keep).ok().zip(u32::try_from(group).ok());
            pair.and_then(|(keep, group)| NmPattern::new(keep, group, 1).ok())
        }
    };
    let layout = pattern.map_or(SparseLayout::Delta(DeltaBits::Four), SparseLayout::Nm);
    let matrix = SparseMatrix::compress(&dense, layout, ValueFormat::F32)?;
    Ok(Stored::Sparse {
        shape: vec![n, k],
        matrix,
        activations: Activations::Float,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    fn normal(seed: u64, len: usize) -> Vec<f32> {
        let mut stream = Philox::new(seed).stream(0);
        (0..len).map(|_| stream.normal()).collect()
    }

    /// Inputs some of whose features are large, and depend on each other.
    fn inputs(k: usize) -> Vec<f32> {
        let mut x = normal(2, 200 * k);
        for row in x.chunks_exact_mut(k) {
            row[1] = 4.0 * row[0] + 0.5 * row[1];
            row[0] *= 4.0;
        }
        x
    }

    /// Inputs each of which follows the one before.
    fn followers(k: usize) -> Vec<f32> {
        let mut x = normal(2, 200 * k);
        for row in x.chunks_exact_mut(k) {
            (1..k).for_each(|at| row[at] += 0.8 * row[at - 1]);
        }
        x
    }

    fn error(method: &Method) -> (f64, Compressed) {
        error_on(method, &inputs(32))
    }

    fn error_on(method: &Method, x: &[f32]) -> (f64, Compressed) {
        let (n, k) = (16, 32);
        let values = normal(1, n * k);
        let mut seen = Statistics::new(k);
        seen.add("w", x, Needs::Hessian).unwrap();
        let made = method.compress("w", [n, k], &values, Some(&seen)).unwrap();
        let weights = Weights::new("w", n, k, &values).unwrap();
        let mut got = made.stored.values().to_f32().unwrap();
        if let Some(factors) = &made.input_factors {
            for row in got.chunks_exact_mut(k) {
                row.iter_mut()
                    .zip(factors)
                    .for_each(|(w, factor)| *w *= factor);
            }
        }
        let changes: Vec<f64> = got
            .iter()
            .zip(&values)
            .map(|(&got, &own)| f64::from(got) - f64::from(own))
            .collect();
        let loss = seen.hessian.loss("w", &changes).unwrap();
        let whole = seen.hessian.loss("w", &weights.to_f64()).unwrap();
        (loss / whole, made)
    }

    #[test]
    fn methods_that_see_the_inputs_lose_less_of_the_outputs() {
        let linear = Linear::asymmetric(Width::Int3, Granularity::Group(32));
        let (nearest, made) = error(&Method::Nearest(linear));
        assert!((nearest - made.output_error.unwrap()).abs() <= 1e-12 * nearest);
        assert_eq!(made.output_error, made.nearest_error);
        for method in [
            Method::Gptq(linear, Gptq::default()),
            Method::Awq(linear, Awq::default()),
        ] {
            let (found, made) = error(&method);
            assert!(found < nearest, "{}: {found} and {nearest}", method.name());
            let told = made.output_error.unwrap();
            assert!((found - told).abs() <= 1e-5 * nearest, "{found} and {told}");
            let beside = made.nearest_error.unwrap();
            assert!((beside - nearest).abs() <= 1e-9 * nearest, "{beside}");
        }
    }

    #[test]
    fn pruning_with_inputs_loses_less_and_keeps_as_many() {
        for sparsity in [Sparsity::Share(0.5), Sparsity::NOfM { keep: 2, group: 4 }] {
            let (by_size, made) = error(&Method::Magnitude(sparsity));
            assert_eq!(made.stored.sparsity(), 0.5);
            let (by_input, made) = error(&Method::Wanda(sparsity));
            assert_eq!(made.stored.sparsity(), 0.5);
            assert!(by_input < by_size, "{by_size} {by_input}");
            // SparseGPT chooses before the weights of a block make up for each other, which two inputs that are all
            // but equal, as above, turn against it.
            let x = followers(32);
            let (by_input, _) = error_on(&Method::Wanda(sparsity), &x);
            let sparse_gpt = Method::SparseGpt(sparsity, SparseGpt::default());
            let (solved, made) = error_on(&sparse_gpt, &x);
            assert_eq!(made.stored.sparsity(), 0.5);
            assert!(solved < by_input, "{by_input} {solved}");
        }
    }

    #[test]
    fn shares_out_of_range_are_refused_by_tensor() {
        for share in [-0.1, 1.5, f64::NAN] {
            let method = Method::Wanda(Sparsity::Share(share));
            let refused = method.compress("w", [2, 4], &[1.0; 8], None);
            let said = refused.unwrap_err().to_string();
            assert!(said.starts_with("w: "), "{said}");
        }
    }
}
