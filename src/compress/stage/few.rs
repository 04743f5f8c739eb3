//! Fewer samples than inputs: is what a method found on them more than chance?
//!
//! With fewer rows of samples than inputs the Hessian says nothing of most directions, and a method that follows it
//! may fit the rows it saw and lose on others. So it is tried on every other batch and judged on the rest. Only when
//! it loses less there than the plain way does it run on all of them.

use crate::compress::quantize::{Gptq, Linear, Route, gptq, round_to_nearest};
use crate::compress::{CompressError, Hessian, Weights};

use super::calibrate::LayerInputs;

/// Sums over samples in two parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Halves {
    /// What a method is tried on.
    pub seen: Hessian,
    /// What it is judged on.
    pub unseen: Hessian,
}

impl Halves {
    /// `whole` in the part of `seen` and the rest; `None` where one of them has no samples.
    pub(super) fn of(
        name: &str,
        whole: &Hessian,
        (seen, n_seen): (Vec<f64>, u64),
        products: &[f64],
    ) -> Result<Option<Self>, CompressError> {
        let (k, n) = (whole.k(), whole.n_samples());
        if n_seen == 0 || n_seen >= n {
            return Ok(None);
        }
        let rest = products.iter().zip(&seen).map(|(all, seen)| all - seen);
        Ok(Some(Self {
            unseen: Hessian::from_sums(name, k, n - n_seen, rest.collect())?,
            seen: Hessian::from_sums(name, k, n_seen, seen)?,
        }))
    }
}

/// Why GPTQ is not to be trusted with these samples; `None` where it is.
pub(super) fn against_gptq(
    weights: &Weights<'_>,
    inputs: &LayerInputs,
    (linear, options): (&Linear, &Gptq),
) -> Result<Option<String>, CompressError> {
    judged(weights, inputs, |seen| {
        let solved = gptq(weights, seen, linear, options)?;
        let nearest = round_to_nearest(weights, linear)?.dequantize();
        Ok(match solved.route {
            // Equal to rounding to nearest, which decides for it.
            Route::Nearest { .. } => [nearest.clone(), nearest],
            Route::Solved { .. } => [solved.matrix.dequantize(), nearest],
        })
    })
}

/// Why a method is not to be trusted: `made` gives the values by the method and by the plain way from the samples it
/// is shown.
pub(super) fn judged(
    weights: &Weights<'_>,
    inputs: &LayerInputs,
    made: impl FnOnce(&Hessian) -> Result<[Vec<f32>; 2], CompressError>,
) -> Result<Option<String>, CompressError> {
    let (n, k) = (inputs.hessian.n_samples(), inputs.hessian.k());
    if n >= k as u64 {
        return Ok(None);
    }
    let few = format!("{n} rows of samples for {k} inputs");
    let Some(Halves { seen, unseen }) = &inputs.halves else {
        return Ok(Some(format!("{few}, too few to judge by")));
    };
    let [by_method, plain] = made(seen)?;
    let name = weights.name();
    let lost = |values: &[f32]| unseen.loss(name, &weights.differences(values));
    let (by_method, plain) = (lost(&by_method)?, lost(&plain)?);
    Ok((by_method >= plain).then(|| {
        format!("{few}, and on those held back it loses {by_method:.3e}, the plain way {plain:.3e}")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Calibration;
    use crate::compress::quantize::Width;
    use crate::compress::testing::{correlated, normal};
    use crate::num::Granularity;

    const K: usize = 64;

    fn inputs(rows: &[f32], n_seen: usize) -> LayerInputs {
        let mut calibration = Calibration::new(K);
        calibration.add("w", rows).unwrap();
        let sums = |rows: &[f32]| {
            let mut sums = vec![0.0; K * K];
            for row in rows.chunks_exact(K) {
                for (at, sum) in sums.iter_mut().enumerate() {
                    *sum += f64::from(row[at / K]) * f64::from(row[at % K]);
                }
            }
            sums
        };
        let n = (rows.len() / K) as u64;
        let products = sums(rows);
        let hessian = Hessian::from_sums("w", K, n, products.clone()).unwrap();
        let seen = (sums(&rows[..n_seen * K]), n_seen as u64);
        let halves = Halves::of("w", &hessian, seen, &products).unwrap();
        LayerInputs {
            calibration,
            hessian,
            halves,
        }
    }

    #[test]
    fn a_method_is_trusted_where_it_holds_on_samples_it_did_not_see() {
        let values = normal(12 * K, 3);
        let weights = Weights::new("w", 12, K, &values).unwrap();
        let linear = Linear::symmetric(Width::Int4, Granularity::Channel);
        let reason = |rows: &[f32], n_seen: usize| {
            let how = (&linear, &Gptq::default());
            against_gptq(&weights, &inputs(rows, n_seen), how).unwrap()
        };
        // Inputs that hang together are the same in both parts; independent ones only look so in few samples.
        assert_eq!(reason(&correlated(60, K, 1), 30), None);
        let chance = reason(&normal(8 * K, 5), 4).unwrap();
        assert!(
            chance.contains("8 rows of samples for 64 inputs, and on those"),
            "{chance}"
        );
        let one = reason(&normal(K, 5), 1).unwrap();
        assert_eq!(one, "1 rows of samples for 64 inputs, too few to judge by");
        // As many as inputs are enough.
        assert_eq!(reason(&normal(K * K, 5), 32), None);
    }
}
