//! Times of real forward passes with the kernels of the model's formats.

use std::path::Path;
use std::time::Instant;

use super::{DeployError, Deployed};
use crate::compress::model::Model;
use crate::compress::outcome::{KernelTime, Speed};
use crate::engine::{Engine, EngineError};
use crate::models::Network;
use crate::ops::Routes;

/// Samples of a batch when throughput is measured.
const BATCH: usize = 64;

/// How often passes are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MeasureOptions {
    /// Passes before any that counts.
    pub warm_up: usize,
    /// Passes of one sample.
    pub single: usize,
    /// Passes of 64 samples.
    pub batches: usize,
}

impl Default for MeasureOptions {
    /// 100 passes of one sample, 20 of 64.
    fn default() -> Self {
        Self {
            warm_up: 5,
            single: 100,
            batches: 20,
        }
    }
}

/// Opens an engine; each call gives a new one, which has compiled nothing.
pub type OpenEngine<'a> = &'a dyn Fn() -> Result<Box<dyn Engine>, EngineError>;

/// What was measured, and the logits on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Times and bytes.
    pub speed: Speed,
    /// Where the device's time goes in a pass of 64 samples, the longest first.
    pub kernels: Vec<KernelTime>,
    /// Device line.
    pub device: String,
}

/// Loads a model's folder onto a new engine and times forward passes of prepared samples.
///
/// # Errors
/// [`DeployError`]: a folder that cannot be read, what the engine says, no samples.
pub fn measure(
    folder: &Path,
    open: OpenEngine<'_>,
    (inputs, routes): (&[f32], &Routes),
    options: MeasureOptions,
) -> Result<Measured, DeployError> {
    let engine = open()?;
    let began = Instant::now();
    let model = Model::load(folder)?;
    let features: usize = model.network().sample_shape().iter().product();
    let samples: Vec<&[f32]> = inputs.chunks_exact(features.max(1)).collect();
    let Some(first) = samples.first() else {
        return Err(DeployError::NoSamples);
    };
    let deployed = Deployed::new(engine.as_ref(), &model, routes)?;
    let single = deployed.predictor(1)?;
    single.logits(first)?;
    let load_ms = 1e3 * began.elapsed().as_secs_f64();

    let pass = |index: usize| single.logits(samples[index % samples.len()]);
    let mut times = timed(options.warm_up, options.single, pass)?;
    let [p50_ms, p95_ms, p99_ms] = [0.5, 0.95, 0.99].map(|share| quantile(&mut times, share));
    let many = deployed.predictor(BATCH)?;
    let mut batch: Vec<f32> = inputs
        .iter()
        .copied()
        .cycle()
        .take(BATCH * features)
        .collect();
    let mut times = timed(options.warm_up.div_ceil(2), options.batches, |index| {
        // Not the same bits twice.
        batch.rotate_left(features * (index % 2));
        many.logits(&batch)
    })?;
    let weight_bytes = model.bytes();
    let kernels = kernel_times(&deployed, &batch, options.batches)?;
    Ok(Measured {
        kernels,
        speed: Speed {
            load_ms,
            p50_ms,
            p95_ms,
            p99_ms,
            throughput: 1e3 * BATCH as f64 / quantile(&mut times, 0.5),
            device_bytes: weight_bytes + many.intermediate_bytes(),
            weight_bytes,
        },
        device: engine.name(),
    })
}

/// What each kernel's launches take on the device in a pass of these samples; nothing where the engine has no
/// clock for that.
fn kernel_times(
    deployed: &Deployed<'_>,
    inputs: &[f32],
    passes: usize,
) -> Result<Vec<KernelTime>, DeployError> {
    let recording = deployed.recorded(inputs)?;
    deployed.engine.run(&recording)?;
    // Of each launch, the sum of its parts in every pass.
    let mut launches: Vec<Vec<f64>> = vec![Vec::new(); recording.dispatches().count()];
    for pass in 0..passes.max(1) {
        for (index, nanoseconds) in deployed.engine.dispatch_times(&recording)? {
            let Some(times) = launches.get_mut(index) else {
                continue;
            };
            times.resize(pass + 1, 0.0);
            times[pass] += 1e-6 * nanoseconds;
        }
    }
    let mut kernels: Vec<KernelTime> = Vec::new();
    for (dispatch, times) in recording.dispatches().zip(&mut launches) {
        if times.is_empty() {
            return Ok(Vec::new());
        }
        let (kernel, ms) = (dispatch.launch.kernel(), quantile(times, 0.5));
        match kernels.iter_mut().find(|one| one.kernel == kernel) {
            Some(one) => {
                one.launches += 1;
                one.ms += ms;
            }
            None => kernels.push(KernelTime {
                kernel: kernel.to_owned(),
                launches: 1,
                ms,
            }),
        }
    }
    kernels.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    Ok(kernels)
}

/// Milliseconds of each pass that counts.
fn timed<T, E>(
    warm_up: usize,
    passes: usize,
    mut pass: impl FnMut(usize) -> Result<T, E>,
) -> Result<Vec<f64>, E> {
    let mut times = Vec::with_capacity(passes.max(1));
    for index in 0..warm_up + passes.max(1) {
        let began = Instant::now();
        pass(index)?;
        if index >= warm_up {
            times.push(1e3 * began.elapsed().as_secs_f64());
        }
    }
    Ok(times)
}

/// The smallest value that is at least as large as this share of all.
fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&mut values, 0.5), 50.0);
        assert_eq!(quantile(&mut values, 0.95), 95.0);
        assert_eq!(quantile(&mut values, 0.99), 99.0);
        assert_eq!(quantile(&mut [3.0], 0.5), 3.0);
    }
}
