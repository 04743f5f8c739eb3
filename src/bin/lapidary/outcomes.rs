//! Versions of a network side by side, as a table.

use lapidary::compress::outcome::Outcome;

use crate::output::{bytes, number, table};

/// A line for each version, then what its columns mean. The first version is the baseline.
pub fn text(outcomes: &[Outcome]) -> String {
    let Some(base) = outcomes.first() else {
        return "no versions".to_owned();
    };
    let mut rows = table(&[
        "version",
        "bytes",
        "of base",
        "bits/weight",
        "accuracy",
        "change",
        "one sample",
        "samples/s",
        "of base",
        "verified",
    ]);
    for outcome in outcomes {
        let change = outcome.quality.accuracy.value - base.quality.accuracy.value;
        let not_measured = || "not measured".to_owned();
        let (single, many, ratio) = match (outcome.speed, base.speed) {
            (None, _) => (not_measured(), not_measured(), String::new()),
            (Some(speed), before) => (
                format!("{:.3} ms", speed.p50_ms),
                format!("{:.0}", speed.throughput),
                before.map_or_else(String::new, |before| {
                    faster(speed.throughput / before.throughput)
                }),
            ),
        };
        let verified = match &outcome.verification {
            None => "not done".to_owned(),
            Some(one) if one.passed() => format!("yes, {:.2} of bound", one.worst_over_bound),
            Some(one) => format!("NO: {} in {}", one.worst_over_bound, one.worst_operation),
        };
        rows.add_row([
            outcome.name.clone().into(),
            number(bytes(outcome.file_bytes)),
            number(format!(
                "{:.2}x",
                outcome.file_bytes as f64 / base.file_bytes.max(1) as f64
            )),
            number(format!("{:.2}", outcome.bits_per_weight)),
            number(format!("{:.2}%", 100.0 * outcome.quality.accuracy.value)),
            number(format!("{:+.2}", 100.0 * change)),
            number(single),
            number(many),
            number(ratio),
            verified.into(),
        ]);
    }
    let interval = base.quality.accuracy;
    let mut lines = vec![
        rows.to_string(),
        String::new(),
        format!(
            "accuracy on {} samples that took no part in training, change in points; the baseline's is between {:.2}% \
             and {:.2}% in 95 of 100 cases",
            base.quality.samples,
            100.0 * interval.low,
            100.0 * interval.high
        ),
        "one sample: median time of a pass; samples/s in batches of 64; verified: every operation against its \
         definition; energy: not measured"
            .to_owned(),
    ];
    for outcome in outcomes {
        lines.extend(
            outcome
                .notes
                .iter()
                .map(|note| format!("{}: {note}", outcome.name)),
        );
    }
    lines.join("\n")
}

/// `1.85x`, or `0.50x slower`.
fn faster(ratio: f64) -> String {
    if ratio < 1.0 {
        format!("{ratio:.2}x slower")
    } else {
        format!("{ratio:.2}x")
    }
}

#[cfg(test)]
mod tests {
    use super::faster;

    #[test]
    fn slower_is_called_slower() {
        assert_eq!(faster(2.0), "2.00x");
        assert_eq!(faster(0.5), "0.50x slower");
    }
}
