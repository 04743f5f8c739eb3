//! How far a change of accuracy is sure.

use crate::compress::outcome::Interval;

/// The change of a share from one measurement to another, with the interval that holds the true change in 95
/// of 100 cases.
///
/// Newcombe's hybrid of two score intervals (method 10 in "Interval estimation for the difference between
/// independent proportions", 1998), which takes the two as independent. Versions of a network are judged on
/// the same samples and mostly agree, so the true interval is narrower: this one claims too little, never too
/// much.
pub fn change(before: Interval, after: Interval) -> Interval {
    let value = after.value - before.value;
    let down = (after.value - after.low).hypot(before.high - before.value);
    let up = (after.high - after.value).hypot(before.value - before.low);
    Interval {
        value,
        low: value - down,
        high: value + up,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::outcome::wilson;

    #[test]
    fn the_interval_is_newcombes() {
        // 56 of 70 against 48 of 80: 0.2, from 0.0524 to 0.3339 (Newcombe 1998, table II, method 10).
        let change = change(wilson(48.0 / 80.0, 80), wilson(56.0 / 70.0, 70));
        assert!((change.value - 0.2).abs() < 1e-12);
        assert!((change.low - 0.0524).abs() < 1e-4, "{change:?}");
        assert!((change.high - 0.3339).abs() < 1e-4, "{change:?}");
    }

    #[test]
    fn no_change_is_between_loss_and_gain() {
        let same = wilson(0.9, 1000);
        let change = change(same, same);
        assert!(change.low < 0.0 && change.value == 0.0 && 0.0 < change.high);
    }
}
