//! Numbers as words: sizes, shares, and what is smaller, slower or not known.

use super::{change, timed};
use crate::compress::outcome::Outcome;
use crate::report::rich::Tone;
use crate::report::text;

/// What was not measured.
pub(in crate::report) const NOT_MEASURED: &str = "not measured";

/// A byte count with a binary unit.
pub(in crate::report) fn bytes(count: u64) -> String {
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

/// A share as a percentage with one decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A change of a share in points, with its sign.
pub(super) fn points(change: f64) -> String {
    // A rounded zero has no sign.
    match 100.0 * change {
        points if points.abs() < 0.05 => "0.0".to_owned(),
        points => format!("{points:+.1}"),
    }
}

/// Milliseconds.
pub(super) fn milliseconds(value: f64) -> String {
    format!("{} ms", text::number(value))
}

/// A whole number with a comma after each thousand.
pub(in crate::report) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len() - index;
        if index > 0 && left.is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Words for a number that changed: which is better, and what each direction is called.
#[derive(Debug, Clone, Copy)]
pub(in crate::report) struct Directions {
    /// What more is called.
    pub(super) more: &'static str,
    /// What less is called.
    pub(super) less: &'static str,
    /// What neither is called.
    pub(super) same: &'static str,
    /// Whether more is better.
    pub(super) more_is_better: bool,
}

/// Of bytes.
pub(in crate::report) const SIZE: Directions = Directions {
    more: "larger",
    less: "smaller",
    same: "as large",
    more_is_better: false,
};

/// Of samples a second.
pub(super) const RATE: Directions = Directions {
    more: "faster",
    less: "slower",
    same: "as fast",
    more_is_better: true,
};

/// Of times.
pub(super) const TIME: Directions = Directions {
    more: "slower",
    less: "faster",
    same: "as fast",
    more_is_better: false,
};

impl Directions {
    /// What became of a number above zero: `3.8x smaller`, `2 % slower`. `None` where one of them is not.
    pub(in crate::report) fn compare(self, before: f64, after: f64) -> Option<(String, Tone)> {
        let is_size = |value: f64| value.is_finite() && value > 0.0;
        if !(is_size(before) && is_size(after)) {
            return None;
        }
        let (word, is_better) = if after > before {
            (self.more, self.more_is_better)
        } else {
            (self.less, !self.more_is_better)
        };
        let ratio = (after / before).max(before / after);
        // Of the larger for what shrank, of the smaller for what grew: as one says it.
        let percent = 100.0 * (after - before).abs() / before;
        let amount = if ratio >= 9.95 {
            format!("{ratio:.0}x")
        } else if ratio >= 1.2 {
            format!("{ratio:.1}x")
        } else if percent >= 0.05 {
            format!("{} %", text::number((10.0 * percent).round() / 10.0))
        } else {
            return Some((self.same.to_owned(), Tone::Plain));
        };
        let tone = if is_better { Tone::Better } else { Tone::Worse };
        Some((format!("{amount} {word}"), tone))
    }
}

/// The change of accuracy: `0.3 points of accuracy lost`. It is neither good nor bad news where its interval
/// holds zero.
pub(super) fn accuracy_change(baseline: &Outcome, step: &Outcome) -> (String, Tone) {
    let interval = change(baseline.quality.accuracy, step.quality.accuracy);
    let change = interval.value;
    let points = 100.0 * change.abs();
    let word = if change < 0.0 { "lost" } else { "gained" };
    let tone = if interval.high < 0.0 {
        Tone::Worse
    } else if interval.low > 0.0 {
        Tone::Better
    } else {
        Tone::Plain
    };
    if change == 0.0 {
        ("no accuracy lost".to_owned(), Tone::Plain)
    } else if points < 0.05 {
        (
            format!("{} points of accuracy {word}", text::number(points)),
            tone,
        )
    } else {
        (format!("{points:.1} points of accuracy {word}"), tone)
    }
}

/// The interval of the change of accuracy: `-1.2 to +0.6 points`.
pub(super) fn accuracy_interval(baseline: &Outcome, step: &Outcome) -> String {
    let change = change(baseline.quality.accuracy, step.quality.accuracy);
    format!("{} to {} points", points(change.low), points(change.high))
}

/// What was gained and lost: size, accuracy, speed of batches, speed of one sample.
pub(super) fn gains(baseline: &Outcome, step: &Outcome) -> Vec<String> {
    let size = SIZE.compare(baseline.file_bytes as f64, step.file_bytes as f64);
    let mut gains: Vec<String> = size.into_iter().map(|(words, _)| words).collect();
    gains.push(accuracy_change(baseline, step).0);
    match (timed(baseline), timed(step)) {
        (Some(before), Some(after)) => {
            let batch = RATE.compare(before.throughput, after.throughput);
            let single = TIME.compare(before.p50_ms, after.p50_ms);
            gains.extend(batch.map(|(words, _)| format!("{words} at batch 64")));
            gains.extend(single.map(|(words, _)| format!("{words} at batch 1")));
        }
        _ => gains.push(format!("speed {NOT_MEASURED}")),
    }
    gains
}

/// Whether the device computed what the definition says, in a few words.
pub(super) fn verified(outcome: &Outcome) -> (String, Tone) {
    match &outcome.verification {
        None => ("not verified".to_owned(), Tone::Absent),
        Some(found) if found.passed() => ("verified".to_owned(), Tone::Better),
        Some(_) => ("FAILED".to_owned(), Tone::Worse),
    }
}

/// What was compared on the device, and how it went.
pub(super) fn verification(outcome: &Outcome) -> String {
    let Some(found) = &outcome.verification else {
        return format!("{}: not verified.", outcome.name);
    };
    let verdict = if found.passed() {
        "within"
    } else {
        "NOT WITHIN"
    };
    format!(
        "{}: {} operations on the device are {verdict} their bounds; {} of {} elements equal the definition's \
         bit for bit; the worst error is {} of what is allowed, in {}; {} tensors of the file were read back \
         and equal what was written.",
        outcome.name,
        found.operations,
        thousands(found.exact as f64),
        thousands(found.elements as f64),
        text::number(found.worst_over_bound),
        found.worst_operation,
        found.tensors_read_back,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_and_shrank_has_its_word() {
        let compare = |directions: Directions, before, after| {
            directions.compare(before, after).expect("above zero")
        };
        let cases = [
            (compare(SIZE, 380.0, 100.0), "3.8x smaller", Tone::Better),
            (compare(SIZE, 100.0, 5000.0), "50x larger", Tone::Worse),
            (compare(SIZE, 100.0, 100.0), "as large", Tone::Plain),
            (compare(RATE, 100.0, 160.0), "1.6x faster", Tone::Better),
            (compare(RATE, 100.0, 98.0), "2 % slower", Tone::Worse),
            (compare(RATE, 100.0, 50.0), "2.0x slower", Tone::Worse),
            (compare(TIME, 1.0, 1.1), "10 % slower", Tone::Worse),
            (compare(TIME, 1.0, 0.5), "2.0x faster", Tone::Better),
        ];
        for ((words, tone), expected, expected_tone) in cases {
            assert_eq!((words.as_str(), tone), (expected, expected_tone));
        }
        for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(RATE.compare(1.0, value), None);
            assert_eq!(RATE.compare(value, 1.0), None);
        }
    }

    #[test]
    fn numbers_are_grouped_and_signed() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(999.0), "999");
        assert_eq!(points(-0.0031), "-0.3");
        assert_eq!(points(0.02), "+2.0");
        assert_eq!(points(-0.000_01), "0.0");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 << 19), "1.5 MiB");
    }
}
