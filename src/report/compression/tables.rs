//! The tables of versions: what each is worth, how fast it is, and what became of each class.

use super::words::{
    NOT_MEASURED, RATE, SIZE, TIME, accuracy_interval, bytes, milliseconds, percent, points,
    thousands, verified,
};
use super::{CompressionReport, timed};
use crate::compress::outcome::{Interval, Outcome, Speed};
use crate::report::rich::{Cell, Row, Tone};
use crate::report::text::number;

/// Before the name of a version that no other beats.
const FRONT_MARK: &str = "◆ ";

/// Size and quality.
pub(super) const QUALITY_HEADER: [&str; 10] = [
    "step",
    "file",
    "bits per weight",
    "accuracy",
    "change of accuracy",
    "F1",
    "AUC",
    "log loss",
    "agrees with the baseline",
    "device",
];

/// Speed and memory.
pub(super) const SPEED_HEADER: [&str; 8] = [
    "step",
    "p50",
    "p95",
    "p99",
    "samples/s, batch 64",
    "load to first result",
    "memory on the device",
    "weights there",
];

fn is_baseline(report: &CompressionReport, one: &Outcome) -> bool {
    std::ptr::eq(one, &raw const report.baseline)
}

fn is_result(report: &CompressionReport, one: &Outcome) -> bool {
    std::ptr::eq(one, report.result())
}

pub(super) fn quality_rows(report: &CompressionReport) -> Vec<Row> {
    let versions = report.versions().zip(report.front_by_size());
    versions
        .map(|(one, on_front)| {
            let mark = if on_front { FRONT_MARK } else { "" };
            Row {
                name: Cell::new(format!("{mark}{}", one.name)),
                cells: quality_cells(report, one),
                marked: is_result(report, one),
            }
        })
        .collect()
}

fn quality_cells(report: &CompressionReport, one: &Outcome) -> Vec<Cell> {
    let (baseline, quality) = (&report.baseline, &one.quality);
    let file = Cell::new(bytes(one.file_bytes));
    let compared = SIZE.compare(baseline.file_bytes as f64, one.file_bytes as f64);
    let (file, change) = if is_baseline(report, one) {
        (file, Cell::new("—"))
    } else {
        let lost = quality.accuracy.value - baseline.quality.accuracy.value;
        let change = Cell::new(format!("{} points", points(lost)))
            .note(accuracy_interval(baseline, one), Tone::Plain);
        (with_note(file, compared), change)
    };
    let (check, tone) = verified(one);
    let check = match tone {
        Tone::Absent => Cell::absent(check),
        Tone::Plain | Tone::Better | Tone::Worse => Cell::new(check),
    };
    let worst = one.verification.as_ref().map(|found| {
        let words = format!("worst error {} of bound", number(found.worst_over_bound));
        (words, tone)
    });
    vec![
        file,
        bits(one),
        Cell::new(percent(quality.accuracy.value))
            .note(percent_interval(quality.accuracy), Tone::Plain),
        change,
        share_cell(quality.f1),
        share_cell(quality.auc),
        Cell::new(number(quality.loss)),
        quality
            .agreement
            .map_or_else(|| Cell::new("—"), |agreement| Cell::new(percent(agreement))),
        with_note(check, worst),
    ]
}

/// Bits of a weight in the file, and on a device where they show as others.
fn bits(one: &Outcome) -> Cell {
    let [disk, device] = [one.bits_per_weight, one.device_bits_per_weight].map(number);
    let note = (disk != device).then(|| (format!("{device} on the device"), Tone::Plain));
    with_note(Cell::new(disk), note)
}

fn with_note(cell: Cell, note: Option<(String, Tone)>) -> Cell {
    match note {
        Some((note, tone)) => cell.note(note, tone),
        None => cell,
    }
}

fn percent_interval(interval: Interval) -> String {
    format!(
        "{:.1} to {:.1} %",
        100.0 * interval.low,
        100.0 * interval.high
    )
}

fn share_cell(share: Option<Interval>) -> Cell {
    share.map_or_else(
        || Cell::absent(NOT_MEASURED),
        |share| {
            let interval = format!("{:.3} to {:.3}", share.low, share.high);
            Cell::new(format!("{:.3}", share.value)).note(interval, Tone::Plain)
        },
    )
}

pub(super) fn speed_rows(report: &CompressionReport) -> Vec<Row> {
    report
        .versions()
        .zip(report.front_by_latency())
        .map(|(one, on_front)| {
            let mark = if on_front == Some(true) {
                FRONT_MARK
            } else {
                ""
            };
            Row {
                name: Cell::new(format!("{mark}{}", one.name)),
                cells: speed_cells(report, one),
                marked: is_result(report, one),
            }
        })
        .collect()
}

fn speed_cells(report: &CompressionReport, one: &Outcome) -> Vec<Cell> {
    let Some(speed) = timed(one) else {
        return vec![Cell::absent(NOT_MEASURED); SPEED_HEADER.len() - 1];
    };
    let before = if is_baseline(report, one) {
        None
    } else {
        timed(&report.baseline)
    };
    let time = |of: fn(&Speed) -> f64| {
        let note = before.and_then(|before| TIME.compare(of(before), of(speed)));
        with_note(Cell::new(milliseconds(of(speed))), note)
    };
    let size = |of: fn(&Speed) -> u64| {
        let note = before.and_then(|before| SIZE.compare(of(before) as f64, of(speed) as f64));
        with_note(Cell::new(bytes(of(speed))), note)
    };
    let rate = before.and_then(|before| RATE.compare(before.throughput, speed.throughput));
    vec![
        time(|speed| speed.p50_ms),
        time(|speed| speed.p95_ms),
        time(|speed| speed.p99_ms),
        with_note(Cell::new(thousands(speed.throughput)), rate),
        time(|speed| speed.load_ms),
        size(|speed| speed.device_bytes),
        size(|speed| speed.weight_bytes),
    ]
}

/// The share of each class that every version finds, and the change from the baseline.
pub(super) fn class_table(report: &CompressionReport) -> (Vec<String>, Vec<Row>) {
    let header = std::iter::once("class".to_owned());
    let header = header.chain(report.versions().map(|one| one.name.clone()));
    let n_classes = report.baseline.quality.confusion.len();
    let row = |class: usize| {
        let base = recall(&report.baseline, class);
        let cells = report.versions().map(|one| {
            let Some(found) = recall(one, class) else {
                return Cell::absent("no samples");
            };
            let cell = Cell::new(percent(found));
            match base {
                Some(base) if !is_baseline(report, one) => {
                    let tone = match points(found - base).as_bytes().first() {
                        Some(b'-') => Tone::Worse,
                        Some(b'+') => Tone::Better,
                        _ => Tone::Plain,
                    };
                    cell.note(format!("{} points", points(found - base)), tone)
                }
                _ => cell,
            }
        });
        let name = report.class_names.get(class).map_or("", String::as_str);
        Row {
            name: Cell::new(format!("{class} {name}")),
            cells: cells.collect(),
            marked: false,
        }
    };
    (header.collect(), (0..n_classes).map(row).collect())
}

/// The share of a class's samples that were taken for it; `None` where there are none.
fn recall(one: &Outcome, class: usize) -> Option<f64> {
    let counts = one.quality.confusion.get(class)?;
    let (found, all) = (*counts.get(class)?, counts.iter().sum::<u64>());
    (all > 0).then(|| found as f64 / all as f64)
}
