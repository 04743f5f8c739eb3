//! The number of histogram bins to keep so that quantizing them loses the least information.
//!
//! For each candidate `i` of bins kept: the reference `P` is the first `i` bins with everything beyond
//! added to the last; `Q` spreads the same bins over the levels, each level's count evenly over those of
//! its bins that are not empty. The candidate with the least `KL(P || Q) = sum p ln(p / q)` wins, of equal
//! ones the widest. Where `P` has a bin that `Q` has not (an empty last bin that took the rest) the
//! divergence is infinite.
//!
//! Source: Migacz, "8-bit inference with TensorRT" (GTC 2017), with the bins of a level cut at
//! `floor(level * i / levels)` instead of giving all that is left over to the last.

use crate::num::Width;

/// Fewer values than this do not make a histogram to choose by.
pub(crate) const MIN_VALUES: u64 = 2048;

/// Levels of magnitudes: half of the codes.
pub(crate) const fn n_levels(width: Width) -> usize {
    1 << (width.bits() - 1)
}

/// How many bins of `histogram`, counted from magnitude 0, the codes should cover.
pub(crate) fn bins_to_keep(histogram: &[u64], n_levels: usize) -> usize {
    let used = histogram
        .iter()
        .rposition(|&count| count > 0)
        .map_or(0, |last| last + 1);
    let histogram = &histogram[..used];
    let total: u64 = histogram.iter().sum();
    let mut best = (used, f64::INFINITY);
    let mut inside: u64 = histogram.iter().take(n_levels.min(used)).sum();
    for kept in n_levels.min(used)..=used {
        let divergence = divergence(&histogram[..kept], total - inside, n_levels);
        if divergence <= best.1 {
            best = (kept, divergence);
        }
        inside += histogram.get(kept).copied().unwrap_or(0);
    }
    best.0
}

/// `KL(P || Q)` of the bins kept and the count beyond them.
fn divergence(kept: &[u64], beyond: u64, n_levels: usize) -> f64 {
    let inside: u64 = kept.iter().sum();
    if inside == 0 {
        return f64::INFINITY;
    }
    let (p_total, q_total) = ((inside + beyond) as f64, inside as f64);
    let last = kept.len() - 1;
    if beyond > 0 && kept[last] == 0 {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for level in 0..n_levels {
        let start = level * kept.len() / n_levels;
        let end = (level + 1) * kept.len() / n_levels;
        let bins = &kept[start..end];
        let filled = bins.iter().filter(|&&count| count > 0).count();
        let level_count: u64 = bins.iter().sum();
        let q = level_count as f64 / filled.max(1) as f64 / q_total;
        for (bin, &count) in (start..end).zip(bins) {
            if count > 0 {
                let extra = if bin == last { beyond } else { 0 };
                let p = (count + extra) as f64 / p_total;
                sum += p * (p / q).ln();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_histogram_is_kept_whole() {
        assert_eq!(bins_to_keep(&[5; 2048], 128), 2048);
        assert_eq!(bins_to_keep(&[5; 100], 128), 100, "fewer bins than levels");
        assert_eq!(
            bins_to_keep(&[0, 0, 3, 0], 2),
            3,
            "empty bins at the end do not count"
        );
    }

    #[test]
    fn golden_divergence_of_four_bins_on_two_levels() {
        // P = (3, 1, 2, 2 + 4) / 12, Q = (2, 2, 2, 2) / 8.
        let p = [3.0, 1.0, 2.0, 6.0].map(|count| count / 12.0);
        let expected: f64 = p.iter().map(|p: &f64| p * (p / 0.25).ln()).sum();
        assert_eq!(divergence(&[3, 1, 2, 2], 4, 2), expected);
        // An empty bin takes no part: Q = (4, 0, 2, 2) / 8.
        let expected = 0.5 * (0.5f64 / 0.5).ln();
        assert_eq!(divergence(&[4, 0, 2, 2], 0, 2), expected);
        assert_eq!(divergence(&[1, 0], 1, 2), f64::INFINITY);
    }

    #[test]
    fn a_lone_outlier_is_given_up() {
        let mut histogram = vec![0; 2048];
        for (bin, count) in histogram.iter_mut().take(300).enumerate() {
            *count = (1e6 * (-(bin as f64 / 100.0).powi(2)).exp()) as u64;
        }
        histogram[2047] = 1;
        let kept = bins_to_keep(&histogram, 128);
        assert!((128..=310).contains(&kept), "{kept}");
    }
}
