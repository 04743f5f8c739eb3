//! What became of a network at each step of making it smaller: bytes, quality, speed, and whether the device
//! computed what it should. These are measurements of one version of a network; where something was not
//! measured, it is absent and said to be.

mod pareto;
mod quality;

use serde::Serialize;

pub use pareto::{Candidate, is_dominated, pareto};
pub use quality::{Interval, Quality, wilson};

/// One version of a network: the baseline, or what a step made.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// What it is called in tables: `baseline`, `pruned 80%`, `int8`.
    pub name: String,
    /// The network, as files describe it.
    pub network: String,
    /// Its layers, in order.
    pub layers: Vec<LayerOutcome>,
    /// Bytes of the artifact's weights file.
    pub file_bytes: u64,
    /// Of weights and biases in the file, without its header.
    pub bits_per_weight: f64,
    /// The same on a device, where codes have the width that kernels read.
    pub device_bits_per_weight: f64,
    /// On the test set.
    pub quality: Quality,
    /// `None` when it was not measured.
    pub speed: Option<Speed>,
    /// Where the device's time goes in a pass of 64 samples, the longest first; empty where it was not measured
    /// or the device has no clock.
    pub kernels: Vec<KernelTime>,
    /// `None` when it was not done.
    pub verification: Option<Verification>,
    /// SHA-256 of the weights file.
    pub sha256: String,
    /// What is worth knowing about it: fallbacks, what is slower and why.
    pub notes: Vec<String>,
}

/// A layer of a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerOutcome {
    /// Its name.
    pub name: String,
    /// Its weight's shape.
    pub shape: Vec<usize>,
    /// How the weight is stored: `f32`, `int4-g64`, `2:4 int8-channel`.
    pub format: String,
    /// Bytes of the weight in the file.
    pub bytes: u64,
    /// Share of weights that are zero.
    pub sparsity: f64,
    /// `|w - w0| / |w0|` in the Frobenius norm against the baseline's weight; `None` where shapes differ.
    pub weight_error: Option<f64>,
    /// Counts of weights between equal steps from the smallest to the largest, zeros left out.
    pub histogram: Histogram,
}

/// Counts of values between equal steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// Lower end of the first bin.
    pub low: f32,
    /// Upper end of the last bin.
    pub high: f32,
    /// Values in each bin.
    pub counts: Vec<u64>,
}

/// Times of forward passes on a device, and what they took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// From the file to the first result, shaders compiled on the way, in milliseconds.
    pub load_ms: f64,
    /// Half of the passes of one sample took at most this, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 took at most this.
    pub p95_ms: f64,
    /// 99 of 100 took at most this.
    pub p99_ms: f64,
    /// Samples a second in batches of 64, by the median pass.
    pub throughput: f64,
    /// Bytes on the device: weights and the intermediates of a batch of 64.
    pub device_bytes: u64,
    /// Those of the weights alone.
    pub weight_bytes: u64,
}

/// What the launches of one kernel take in a pass of 64 samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KernelTime {
    /// The kernel.
    pub kernel: String,
    /// Its launches in a pass.
    pub launches: usize,
    /// Milliseconds on the device of all of them, by the median of each.
    pub ms: f64,
}

/// Whether a device computed what the definition says.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// Operations of a forward pass compared, each on the device's own inputs.
    pub operations: usize,
    /// Their results' elements.
    pub elements: usize,
    /// Those whose bits equal the rounded definition.
    pub exact: usize,
    /// Largest error over the error allowed; 1 is the limit.
    pub worst_over_bound: f64,
    /// The operation it was in.
    pub worst_operation: String,
    /// Tensors of the artifact that were read back and equal what was written, bit for bit.
    pub tensors_read_back: usize,
}

impl Outcome {
    /// Notes where it is slower than a baseline, by how much, and what its launches take.
    pub fn note_slower(&mut self, baseline: Option<&Self>) {
        let Some(baseline) = baseline else {
            return;
        };
        let (Some(now), Some(before)) = (self.speed, baseline.speed) else {
            return;
        };
        if now.p50_ms > before.p50_ms {
            let times = now.p50_ms / before.p50_ms;
            let why = more_launches(&self.kernels, &baseline.kernels);
            self.notes
                .push(format!("slower with one sample: {times:.2}x the time{why}"));
        }
        if now.throughput < before.throughput {
            let share = now.throughput / before.throughput;
            let why = longer_launches(&self.kernels, &baseline.kernels);
            self.notes.push(format!(
                "slower in batches of 64: {share:.2}x the samples a second{why}"
            ));
        }
    }
}

/// `; a pass is 6 launches, the baseline's 3`, where there are more.
fn more_launches(now: &[KernelTime], before: &[KernelTime]) -> String {
    let launches = |kernels: &[KernelTime]| kernels.iter().map(|one| one.launches).sum::<usize>();
    let (now, before) = (launches(now), launches(before));
    if now <= before {
        return String::new();
    }
    format!("; a pass is {now} launches, the baseline's {before}")
}

/// `; launches take 0.70 ms on the device (3 of a: 0.50, 3 of b: 0.20), the baseline's 0.60 ms (..)`, where both
/// are known.
fn longer_launches(now: &[KernelTime], before: &[KernelTime]) -> String {
    if now.is_empty() || before.is_empty() {
        return String::new();
    }
    let times = |kernels: &[KernelTime]| {
        let total: f64 = kernels.iter().map(|one| one.ms).sum();
        let each: Vec<String> = kernels
            .iter()
            .map(|one| format!("{} of {}: {:.3}", one.launches, one.kernel, one.ms))
            .collect();
        format!("{total:.3} ms ({})", each.join(", "))
    };
    format!(
        "; launches take {} on the device, the baseline's {}",
        times(now),
        times(before)
    )
}

impl Verification {
    /// Whether everything is right.
    pub fn passed(&self) -> bool {
        self.worst_over_bound <= 1.0
    }
}

impl Histogram {
    /// Counts of the values that are not zero in `bins` bins.
    pub fn of(values: &[f32], bins: usize) -> Self {
        let kept = || values.iter().copied().filter(|&value| value != 0.0);
        let low = kept().fold(f32::INFINITY, f32::min);
        let high = kept().fold(f32::NEG_INFINITY, f32::max);
        let mut counts = vec![0; bins.max(1)];
        if low > high {
            return Self {
                low: 0.0,
                high: 0.0,
                counts,
            };
        }
        let width = (high - low).max(f32::MIN_POSITIVE);
        let last = counts.len() - 1;
        for value in kept() {
            let bin = ((value - low) / width * counts.len() as f32) as usize;
            counts[bin.min(last)] += 1;
        }
        Self { low, high, counts }
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, KernelTime, longer_launches, more_launches};

    #[test]
    fn what_is_slower_says_where_the_time_goes_as_far_as_it_is_known() {
        let kernel = |kernel: &str, launches, ms| KernelTime {
            kernel: kernel.to_owned(),
            launches,
            ms,
        };
        let before = [kernel("dense", 3, 0.25)];
        let now = [kernel("product", 3, 0.25), kernel("quantize", 3, 0.125)];
        assert_eq!(
            more_launches(&now, &before),
            "; a pass is 6 launches, the baseline's 3"
        );
        assert_eq!(more_launches(&before, &before), "");
        assert_eq!(
            longer_launches(&now, &before),
            "; launches take 0.375 ms (3 of product: 0.250, 3 of quantize: 0.125) on the device, \
             the baseline's 0.250 ms (3 of dense: 0.250)"
        );
        assert_eq!(longer_launches(&now, &[]), "");
    }

    #[test]
    fn a_histogram_counts_every_value_but_zeros() {
        let histogram = Histogram::of(&[-1.0, 0.0, 1.0, 0.5, 0.0], 4);
        assert_eq!((histogram.low, histogram.high), (-1.0, 1.0));
        assert_eq!(histogram.counts, [1, 0, 0, 2]);
        assert_eq!(Histogram::of(&[0.0], 2).counts, [0, 0]);
        assert_eq!(Histogram::of(&[3.0, 3.0], 2).counts, [2, 0]);
    }
}
