//! The pictures of the page.

use super::words::NOT_MEASURED;
use super::{CompressionReport, timed};
use crate::compress::outcome::{Histogram, LayerOutcome, Outcome};
use crate::report::plot::{
    Bar, Bars, Counts, Histograms, Matrix, PlotError, Tradeoff, Version, bars, histograms,
    narrow_matrix, tradeoff,
};

/// Accuracy against the size of the file.
pub(super) fn accuracy_against_size(report: &CompressionReport) -> Result<String, PlotError> {
    let largest = report.versions().map(|one| one.file_bytes).max();
    let (unit, name) = match largest.unwrap_or(0) {
        0..2048 => (1.0, "bytes"),
        2048..0x20_0000 => (1024.0, "KiB"),
        _ => (1_048_576.0, "MiB"),
    };
    let versions = report.versions().zip(report.front_by_size());
    tradeoff(&Tradeoff {
        title: "Accuracy against size".to_owned(),
        cost: format!("weights file, {name} (less is better)"),
        worth: "accuracy, % (more is better)".to_owned(),
        less_is_better: false,
        versions: versions
            .map(|(one, on_front)| version(report, one, one.file_bytes as f64 / unit, on_front))
            .collect(),
    })
}

/// Accuracy against the median latency of one sample, and which versions are not in it; `None` where no
/// version was timed.
pub(super) fn accuracy_against_latency(
    report: &CompressionReport,
) -> Result<Option<(String, String)>, PlotError> {
    let front = report.front_by_latency();
    let timed_versions = report.versions().zip(front).filter_map(|(one, on_front)| {
        let speed = timed(one)?;
        Some(version(report, one, speed.p50_ms, on_front?))
    });
    let versions: Vec<Version> = timed_versions.collect();
    if versions.is_empty() {
        return Ok(None);
    }
    let missing = report.versions().filter(|one| timed(one).is_none());
    let missing: Vec<&str> = missing.map(|one| one.name.as_str()).collect();
    let note = if missing.is_empty() {
        String::new()
    } else {
        format!(" {}: {}.", capital(NOT_MEASURED), missing.join(", "))
    };
    let svg = tradeoff(&Tradeoff {
        title: "Accuracy against latency".to_owned(),
        cost: "one sample, median, ms (less is better)".to_owned(),
        worth: "accuracy, % (more is better)".to_owned(),
        less_is_better: false,
        versions,
    })?;
    Ok(Some((svg, note)))
}

fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}

fn version(report: &CompressionReport, one: &Outcome, cost: f64, on_front: bool) -> Version {
    let accuracy = one.quality.accuracy;
    Version {
        name: one.name.clone(),
        cost,
        worth: 100.0 * accuracy.value,
        low: 100.0 * accuracy.low,
        high: 100.0 * accuracy.high,
        on_front,
        is_baseline: std::ptr::eq(one, &raw const report.baseline),
    }
}

/// How often each class was taken for each.
pub(super) fn confusion(report: &CompressionReport, one: &Outcome) -> Result<String, PlotError> {
    let rows = &one.quality.confusion;
    let name = |class: usize| report.class_names.get(class).cloned().unwrap_or_default();
    narrow_matrix(&Matrix {
        title: format!("Confusion: {}", one.name),
        row_name: "class".to_owned(),
        column_name: "taken for".to_owned(),
        names: (0..rows.len()).map(name).collect(),
        counts: rows.concat(),
    })
}

/// A layer's weights before and after.
pub(super) fn weights(
    before: Option<&LayerOutcome>,
    after: &LayerOutcome,
) -> Result<String, PlotError> {
    let counts = |name: String, histogram: &Histogram| Counts {
        name,
        low: f64::from(histogram.low),
        high: f64::from(histogram.high),
        counts: histogram.counts.clone(),
    };
    let none = Histogram {
        low: 0.0,
        high: 0.0,
        counts: vec![0],
    };
    let (before_name, before) = before.map_or_else(
        || ("not in the baseline".to_owned(), &none),
        |layer| (format!("baseline, {}", layer.format), &layer.histogram),
    );
    histograms(&Histograms {
        title: after.name.clone(),
        values: "weights that are not zero".to_owned(),
        before: counts(before_name, before),
        after: counts(after.format.clone(), &after.histogram),
    })
}

/// What each layer alone costs.
pub(super) fn sensitivities(report: &CompressionReport) -> Result<String, PlotError> {
    let most = report.sensitivities.iter().map(|one| one.lost);
    let most = most.fold(f64::NEG_INFINITY, f64::max);
    let rows = report.sensitivities.iter().map(|one| Bar {
        label: format!("{}, {}", one.layer, one.setting),
        value: 100.0 * one.lost,
        low: 100.0 * one.lost,
        high: 100.0 * one.lost,
        highlighted: one.lost == most,
    });
    bars(&Bars {
        title: "What each layer alone costs".to_owned(),
        unit: "points of accuracy lost".to_owned(),
        rows: rows.collect(),
    })
}
