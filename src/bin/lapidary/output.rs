//! Printing: tables for people, JSON for programs.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::options::Failure;

/// A table with a header line and no lines between rows; it never wraps, so that lines can be cut and
/// searched.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table
}

/// Text of a file as one line that cannot move a terminal's cursor: control characters are written out.
pub fn plain(text: &str) -> String {
    let letters = text.chars().map(|letter| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    });
    letters.collect()
}

/// A right-aligned cell.
pub fn number(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A number in about five digits.
pub fn number_of(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if (0.01..1e5).contains(&size) => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

/// Whether results are steps of something larger, which has a result of its own.
static IS_STEP: AtomicBool = AtomicBool::new(false);

/// Does `step` with its results on stderr.
pub fn as_step<T>(step: impl FnOnce() -> T) -> T {
    let before = IS_STEP.swap(true, Ordering::Relaxed);
    let done = step();
    IS_STEP.store(before, Ordering::Relaxed);
    done
}

/// Prints to stdout. A reader that went away is no error; a full disk is.
pub fn print(text: &str) -> Result<(), Failure> {
    if IS_STEP.load(Ordering::Relaxed) {
        eprintln!("{}", text.trim_end());
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::Usage(format!("stdout: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a value as indented JSON.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Usage(error.to_string()))?;
    print(&text)
}

/// A byte count with a binary unit.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{bytes, number_of};

    #[test]
    fn numbers_keep_their_digits() {
        let shown = [0.0, 24.27612, -0.5, 1.5e-6, 1e7].map(number_of);
        assert_eq!(shown, ["0", "24.2761", "-0.5000", "1.500e-6", "1.000e7"]);
        assert_eq!(number_of(f64::NAN), "NaN");
    }

    #[test]
    fn byte_counts_use_binary_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(128 << 20), "128.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }
}
