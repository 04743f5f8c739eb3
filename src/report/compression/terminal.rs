//! The table for a terminal: plain text, aligned, without colours.
//!
//! Names come from files and command lines. What would move a terminal's cursor is replaced, and what is too
//! long loses its middle.

use super::words::{bytes, points, thousands, verified};
use super::{CompressionReport, gained_and_lost, timed};
use crate::compress::outcome::Outcome;
use crate::report::text::number;

const HEADER: [&str; 6] = [
    "step",
    "size",
    "accuracy (change)",
    "latency p50",
    "samples/s",
    "verified",
];

const LEGEND: &str = "* no other is both smaller and more accurate; change in points; latency of 1 sample, \
                      samples/s in batches of 64; verified: device against definition";

const ENERGY: &str = "energy: not measured";

/// Between columns.
const GAP: usize = 2;

/// Names keep at least so much of them.
const LEAST_NAME: usize = 10;

/// Narrower lines cannot hold what must be said.
const LEAST_WIDTH: usize = 40;

pub(super) fn table(report: &CompressionReport, max_width: usize) -> String {
    let max_width = max_width.max(LEAST_WIDTH);
    let front = report.front_by_size();
    let versions = report.versions().zip(front);
    let rows: Vec<[String; 6]> = versions
        .map(|(version, on_front)| row(report, version, on_front))
        .collect();
    let mut lines = wrapped(&clean(&report.title), max_width);
    let result = report.result();
    let headline = format!(
        "{}: {}",
        clean(&result.name),
        gained_and_lost(&report.baseline, result)
    );
    lines.extend(wrapped(&headline, max_width));
    lines.push(String::new());
    lines.extend(aligned(&rows, max_width).unwrap_or_else(|| stacked(&rows, max_width)));
    lines.push(String::new());
    lines.extend(wrapped(LEGEND, max_width));
    lines.extend(wrapped(ENERGY, max_width));
    lines.join("\n") + "\n"
}

fn row(report: &CompressionReport, version: &Outcome, on_front: bool) -> [String; 6] {
    let mark = if on_front { "*" } else { " " };
    let accuracy = version.quality.accuracy.value;
    let change = if std::ptr::eq(version, &raw const report.baseline) {
        String::new()
    } else {
        let change = accuracy - report.baseline.quality.accuracy.value;
        format!(" ({})", points(change))
    };
    let missing = || "not measured".to_owned();
    let speed = timed(version);
    [
        format!("{mark} {}", clean(&version.name)),
        bytes(version.file_bytes),
        format!("{:.1} %{change}", 100.0 * accuracy),
        speed.map_or_else(missing, |speed| format!("{} ms", number(speed.p50_ms))),
        speed.map_or_else(missing, |speed| thousands(speed.throughput)),
        match verified(version).0.as_str() {
            "verified" => "yes".to_owned(),
            "not verified" => "no".to_owned(),
            failed => failed.to_owned(),
        },
    ]
}

/// Rows under a header, or `None` where names would lose too much.
fn aligned(rows: &[[String; 6]], max_width: usize) -> Option<Vec<String>> {
    let header = HEADER.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let mut widths = [0; 6];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = columns(cell).max(*width);
        }
    }
    let others = widths[1..].iter().map(|width| width + GAP).sum::<usize>();
    let room = max_width.checked_sub(others)?;
    if room < widths[0].min(LEAST_NAME) {
        return None;
    }
    widths[0] = widths[0].min(room);
    let line = |row: &[String; 6]| {
        let name = shorten(&row[0], widths[0]);
        let mut line = name.clone() + &" ".repeat(widths[0] - columns(&name));
        for (cell, width) in row.iter().zip(widths).skip(1) {
            line += &" ".repeat(GAP + width - columns(cell));
            line += cell;
        }
        line
    };
    let mut lines: Vec<String> = all().map(line).collect();
    let rule = widths[0] + others;
    lines.insert(1, "-".repeat(rule));
    Some(lines)
}

/// Each version's numbers below its name.
fn stacked(rows: &[[String; 6]], max_width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for row in rows {
        lines.push(shorten(&row[0], max_width));
        for (title, cell) in HEADER.iter().zip(row).skip(1) {
            lines.push(format!("    {title:<18} {cell}"));
        }
    }
    lines
}

/// Lines of at most so many columns, broken between words; longer words lose their middle.
fn wrapped(text: &str, max_width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let word = shorten(word, max_width);
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            *line = word;
        } else if columns(line) + 1 + columns(&word) <= max_width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

/// Columns of a terminal that text takes.
fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Letters of scripts with wide characters begin about here; too much is better than too little.
fn char_columns(c: char) -> usize {
    if c >= '\u{1100}' && !('\u{2000}'..='\u{2BFF}').contains(&c) {
        2
    } else {
        1
    }
}

/// Text without what a terminal would obey.
fn clean(text: &str) -> String {
    let replaced = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        // Marks that turn the direction of what follows.
        '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        c if c.is_control() => '\u{FFFD}',
        c => c,
    };
    text.chars().map(replaced).collect()
}

/// Text of at most so many columns, without its middle where it is longer.
fn shorten(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let chars: Vec<char> = text.chars().collect();
    let (mut head, mut tail) = (0, 0);
    let mut left = most.saturating_sub(1);
    while head + tail < chars.len() {
        let from_head = head <= tail;
        let next = if from_head {
            chars[head]
        } else {
            chars[chars.len() - 1 - tail]
        };
        match left.checked_sub(char_columns(next)) {
            Some(rest) => left = rest,
            None => break,
        }
        if from_head {
            head += 1;
        } else {
            tail += 1;
        }
    }
    let mut short: String = chars[..head].iter().collect();
    short.push('…');
    short.extend(&chars[chars.len() - tail..]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_ends_and_lose_what_a_terminal_obeys() {
        assert_eq!(shorten("pruned to 80 percent", 9), "prun…cent");
        assert_eq!(columns(&shorten("短い名前ですか", 6)), 5);
        assert_eq!(clean("a\u{1b}[31m\nb\u{202E}"), "a\u{FFFD}[31m b\u{FFFD}");
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("incomprehensible", 8), ["inco…ble"]);
        assert_eq!(wrapped("", 8), [""]);
    }
}
