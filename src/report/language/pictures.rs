//! The pictures of the page: what a model loses against what its weights take.

use super::{Estimate, LanguageReport, LanguageRow};
use crate::report::plot::{PlotError, Tradeoff, Version, tradeoff};

/// The standard normal quantile of 0.975: an interval of so many standard errors holds the true value in 95 of 100
/// cases.
const Z: f64 = 1.959_963_984_540_054;

/// A picture, and the rows that are not in it.
pub(super) struct Picture {
    pub(super) svg: String,
    pub(super) missing: Vec<String>,
}

/// A mean and the ends of its interval.
#[derive(Clone, Copy)]
struct Whiskers {
    value: f64,
    low: f64,
    high: f64,
}

/// Perplexity against bytes; `None` where nothing was measured.
pub(super) fn perplexity(report: &LanguageReport) -> Result<Option<Picture>, PlotError> {
    let values = report.rows.iter().map(|row| {
        let quality = row.quality?;
        let half = half_width(quality.loss);
        // The ends are those of the loss, so that they are above zero, too.
        Some(Whiskers {
            value: quality.perplexity.value,
            low: quality.perplexity.value * (-half).exp(),
            high: quality.perplexity.value * half.exp(),
        })
    });
    let (title, worth) = ("Perplexity against size", "perplexity (less is better)");
    let front = report.front_by_perplexity();
    draw(report, (title, worth), (values.collect(), front))
}

/// Divergence from the first row, which is not in it, against bytes. Rows without any are left out: a copy has no
/// place on a logarithmic axis, and nothing to show on another.
pub(super) fn divergence(report: &LanguageReport) -> Result<Option<Picture>, PlotError> {
    let values = report.rows.iter().map(|row| {
        let found = row.against?.divergence;
        let half = half_width(found);
        (found.value > 0.0).then(|| Whiskers {
            value: found.value,
            // There is none below zero.
            low: (found.value - half).max(0.0),
            high: found.value + half,
        })
    });
    let (title, worth) = ("Divergence against size", "nats a token (less is better)");
    let front = report.front_by_divergence();
    draw(report, (title, worth), (values.collect(), front))
}

/// Half of an interval; nothing where the error is not known.
fn half_width(one: Estimate) -> f64 {
    match one.standard_error.is_finite() {
        true => Z * one.standard_error,
        false => 0.0,
    }
}

fn draw(
    report: &LanguageReport,
    (title, worth): (&str, &str),
    (values, front): (Vec<Option<Whiskers>>, Vec<Option<bool>>),
) -> Result<Option<Picture>, PlotError> {
    let largest = report.rows.iter().map(|row| row.weight_bytes).max();
    let (unit, name) = match largest.unwrap_or(0) {
        0..2048 => (1.0, "bytes"),
        2048..0x20_0000 => (1024.0, "KiB"),
        _ => (1_048_576.0, "MiB"),
    };
    let (mut versions, mut missing) = (Vec::new(), Vec::new());
    for ((index, row), (value, on_front)) in
        report.rows.iter().enumerate().zip(values.iter().zip(front))
    {
        match (value.filter(|one| one.high.is_finite()), on_front) {
            (Some(value), Some(on_front)) => {
                let cost = row.weight_bytes as f64 / unit;
                versions.push(version((row, cost), value, (on_front, index == 0)));
            }
            _ => missing.push(row.name.clone()),
        }
    }
    if versions.is_empty() {
        return Ok(None);
    }
    let svg = tradeoff(&Tradeoff {
        title: title.to_owned(),
        cost: format!("weights, {name} (less is better)"),
        worth: worth.to_owned(),
        less_is_better: true,
        versions,
    })?;
    Ok(Some(Picture { svg, missing }))
}

fn version(
    (row, cost): (&LanguageRow, f64),
    value: Whiskers,
    (on_front, is_baseline): (bool, bool),
) -> Version {
    Version {
        name: row.name.clone(),
        cost,
        worth: value.value,
        low: value.low,
        high: value.high,
        on_front,
        is_baseline,
    }
}
