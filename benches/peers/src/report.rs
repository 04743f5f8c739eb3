//! What was measured, as a table or as JSON.

use serde::Serialize;

use crate::cases::{Case, Spec};
use crate::measure::Timing;
use crate::operands::Shape;

const COLUMNS: usize = 10;
/// Columns of words, aligned left, before those of numbers.
const WORD_COLUMNS: usize = 4;
const HEADER: [&str; COLUMNS] = [
    "product",
    "m x n x k",
    "library",
    "how",
    "median ms",
    "spread",
    "Gop/s",
    "first call s",
    "error",
    "ours/best peer",
];

/// Everything one run found out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Adapter, driver, backend, kind.
    pub adapter: String,
    /// Package and version of each library.
    pub versions: Vec<(&'static str, String)>,
    pub rounds: usize,
    pub rows: Vec<Row>,
}

/// One contender of one case.
#[derive(Debug, Serialize)]
pub struct Row {
    product: &'static str,
    m: usize,
    n: usize,
    k: usize,
    library: &'static str,
    how: &'static str,
    #[serde(flatten)]
    outcome: Outcome,
    /// Speed over that of the case's fastest peer; absent for peers.
    speed_over_best_peer: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Measured {
        median_seconds: f64,
        /// (p90 - p10) / median.
        spread: f64,
        min_seconds: f64,
        max_seconds: f64,
        /// 2 m n k operations a product.
        operations_per_second: f64,
        first_call_seconds: f64,
        relative_rms_error: f64,
    },
    Failed(String),
}

/// The rows of a case.
pub fn rows(case: &Case, timings: &[Result<Timing, String>]) -> Vec<Row> {
    let pairs = || case.contenders.iter().zip(timings);
    let best_peer = pairs()
        .filter(|(spec, _)| !spec.method.is_ours())
        .filter_map(|(_, timing)| timing.as_ref().ok().map(Timing::median))
        .min_by(f64::total_cmp);
    pairs()
        .map(|(spec, timing)| row(case, spec, timing, best_peer))
        .collect()
}

fn row(case: &Case, spec: &Spec, timing: &Result<Timing, String>, best_peer: Option<f64>) -> Row {
    let Shape { m, n, k } = case.shape;
    let ratio = match (timing, best_peer) {
        (Ok(timing), Some(best)) if spec.method.is_ours() => Some(best / timing.median()),
        _ => None,
    };
    let outcome = match timing {
        Ok(timing) => Outcome::Measured {
            median_seconds: timing.median(),
            spread: timing.spread(),
            min_seconds: timing.quantile(0.0),
            max_seconds: timing.quantile(1.0),
            operations_per_second: 2.0 * (m * n * k) as f64 / timing.median(),
            first_call_seconds: timing.first.as_secs_f64(),
            relative_rms_error: timing.relative_error,
        },
        Err(reason) => Outcome::Failed(reason.clone()),
    };
    Row {
        product: case.name,
        m,
        n,
        k,
        library: spec.method.package(),
        how: spec.label,
        outcome,
        speed_over_best_peer: ratio,
    }
}

impl Report {
    /// Aligned columns under a line for the adapter and one for the versions; with `markdown`, as a
    /// Markdown table.
    pub fn table(&self, markdown: bool) -> String {
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(package, version)| format!("{package} {version}"))
            .collect();
        let lines = [
            format!("adapter: {}", self.adapter),
            format!("versions: {}", versions.join(", ")),
            format!("rounds: {}", self.rounds),
        ];
        let separator = if markdown { "\n\n" } else { "\n" };
        let cells: Vec<[String; COLUMNS]> = std::iter::once(HEADER.map(str::to_owned))
            .chain(self.rows.iter().map(Row::cells))
            .collect();
        format!(
            "{}\n\n{}",
            lines.join(separator),
            aligned(&cells, WORD_COLUMNS, markdown)
        )
    }
}

impl Row {
    fn cells(&self) -> [String; COLUMNS] {
        let shape = format!("{}x{}x{}", self.m, self.n, self.k);
        let [median, spread, speed, first, error] = match &self.outcome {
            Outcome::Measured {
                median_seconds,
                spread,
                operations_per_second,
                first_call_seconds,
                relative_rms_error,
                ..
            } => [
                format!("{:.3}", median_seconds * 1e3),
                format!("{:.1} %", spread * 1e2),
                format!("{:.1}", operations_per_second / 1e9),
                format!("{first_call_seconds:.3}"),
                format!("{relative_rms_error:.1e}"),
            ],
            Outcome::Failed(_) => ["failed", "", "", "", ""].map(str::to_owned),
        };
        let ratio = self
            .speed_over_best_peer
            .map_or_else(String::new, |ratio| match ratio {
                0.1.. => format!("{ratio:.2}"),
                _ => format!("{ratio:.4}"),
            });
        let [product, library, how] = [self.product, self.library, self.how].map(str::to_owned);
        [
            product, shape, library, how, median, spread, speed, first, error, ratio,
        ]
    }

    /// Why there is no measurement.
    pub fn failure(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Failed(reason) => Some(format!(
                "{} {}x{}x{}, {} ({}): {reason}",
                self.product, self.m, self.n, self.k, self.library, self.how
            )),
            Outcome::Measured { .. } => None,
        }
    }
}

/// Rows of `N` cells under a header, the first `n_words` columns aligned left and the others right.
pub fn aligned<const N: usize>(rows: &[[String; N]], n_words: usize, markdown: bool) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |cells: &[String; N]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                if column < n_words {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        if markdown {
            format!("| {} |", padded.join(" | "))
        } else {
            padded.join("  ").trim_end().to_owned()
        }
    };
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    if markdown {
        let rule = std::array::from_fn(|column| {
            if column < n_words {
                "-".repeat(widths[column])
            } else {
                format!("{}:", "-".repeat(widths[column] - 1))
            }
        });
        lines.insert(1, line(&rule));
    }
    lines.join("\n")
}
