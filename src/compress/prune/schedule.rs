//! Sparsity over time.
//!
//! `s_t = s_f + (s_i - s_f) (1 - (t - begin) / (every steps))^power`, from the initial sparsity `s_i` at
//! step `begin` to the final one `s_f` after `steps` prunings, `every` training steps apart. With power 3
//! most is dropped early, while the network has weights to spare.
//!
//! Source: Zhu, Gupta, "To prune, or not to prune" (2017); TensorFlow's `PolynomialDecay`.

use crate::compress::CompressError;

/// When to prune and how far. Build with [`Gradual::new`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradual {
    initial: f64,
    last: f64,
    begin: u64,
    every: u64,
    prunings: u64,
    power: f64,
}

impl Gradual {
    /// The cubic schedule from sparsity `initial` at step `begin` to `last`, in `prunings` further prunings
    /// that are `every` training steps apart. No prunings is one shot: `last` at `begin`.
    ///
    /// # Errors
    /// [`CompressError::OutOfRange`]: sparsities outside 0 to 1 or falling, `every` 0, an end past 2^63.
    pub fn new(
        initial: f64,
        last: f64,
        begin: u64,
        every: u64,
        prunings: u64,
    ) -> Result<Self, CompressError> {
        let check = |what, value, inside, allowed| {
            CompressError::check_range("pruning schedule", what, value, inside, allowed)
        };
        let share = |value: f64| (0.0..=1.0).contains(&value);
        check("initial sparsity", initial, share(initial), "0 to 1")?;
        let inside = share(last) && last >= initial;
        check("final sparsity", last, inside, "the initial sparsity to 1")?;
        check("every", every as f64, every > 0, "1 or more")?;
        let end = every
            .checked_mul(prunings)
            .and_then(|length| length.checked_add(begin));
        let inside = end.is_some_and(|end| end <= 1 << 63);
        check(
            "prunings",
            prunings as f64,
            inside,
            "an end at most at step 2^63",
        )?;
        Ok(Self {
            initial,
            last,
            begin,
            every,
            prunings,
            power: 3.0,
        })
    }

    /// The schedule with another power; 1 is a line.
    ///
    /// # Errors
    /// [`CompressError::OutOfRange`] for a power that is not above 0.
    pub fn with_power(self, power: f64) -> Result<Self, CompressError> {
        let inside = power > 0.0 && power.is_finite();
        CompressError::check_range("pruning schedule", "power", power, inside, "above 0")?;
        Ok(Self { power, ..self })
    }

    /// Whether masks are chosen anew before training step `step`.
    #[must_use]
    pub const fn prunes_at(&self, step: u64) -> bool {
        step >= self.begin && step <= self.end() && (step - self.begin).is_multiple_of(self.every)
    }

    /// The sparsity that holds at training step `step`: that of the latest pruning, 0 before the first.
    #[must_use]
    pub fn sparsity(&self, step: u64) -> f64 {
        if step < self.begin {
            return 0.0;
        }
        let done = (step - self.begin) / self.every;
        if done >= self.prunings {
            return self.last;
        }
        let left = 1.0 - done as f64 / self.prunings as f64;
        let share = if self.power == 3.0 {
            left * left * left
        } else {
            left.powf(self.power)
        };
        self.last + (self.initial - self.last) * share
    }

    /// The step of the last pruning.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.begin + self.every * self.prunings
    }
}

#[cfg(test)]
mod tests {
    use super::super::tighten;
    use super::*;
    use crate::compress::testing::normal;
    use crate::num::mask::{Amount, Mask, Pattern, Scores, magnitude, select};

    #[test]
    fn golden_values_of_the_cubic() {
        let schedule = Gradual::new(0.0, 0.8, 100, 10, 4).unwrap();
        assert_eq!(schedule.sparsity(99), 0.0);
        assert_eq!(schedule.sparsity(100), 0.0);
        // 0.8 (1 - (3/4)^3), and the same until the next pruning.
        assert!((schedule.sparsity(110) - 0.4625).abs() < 1e-15);
        assert_eq!(schedule.sparsity(119), schedule.sparsity(110));
        assert!((schedule.sparsity(120) - 0.7).abs() < 1e-15);
        assert_eq!(
            (schedule.sparsity(140), schedule.sparsity(u64::MAX)),
            (0.8, 0.8)
        );
        let pruned: Vec<u64> = (0..200).filter(|&step| schedule.prunes_at(step)).collect();
        assert_eq!(pruned, [100, 110, 120, 130, 140]);
        let line = schedule.with_power(1.0).unwrap();
        assert!((line.sparsity(120) - 0.4).abs() < 1e-15);
        let once = Gradual::new(0.0, 0.5, 3, 1, 0).unwrap();
        assert_eq!(
            (once.sparsity(2), once.sparsity(3), once.end()),
            (0.0, 0.5, 3)
        );
    }

    #[test]
    fn masks_over_the_schedule_only_lose_weights() {
        let (n, k) = (8, 32);
        for pattern in [
            Pattern::Tensor as fn(Amount) -> Pattern,
            Pattern::PerRow,
            Pattern::Rows,
        ] {
            let schedule = Gradual::new(0.1, 0.9, 0, 5, 12).unwrap();
            let mut previous = Mask::from_fn(n, k, |_, _| true);
            for step in (0..=schedule.end()).filter(|&step| schedule.prunes_at(step)) {
                let scores = magnitude(&normal(n * k, step));
                let scores = tighten("w", &previous, &scores).unwrap();
                let scores = Scores::new("w", n, k, &scores).unwrap();
                let amount = Amount::Sparsity(schedule.sparsity(step));
                let mask = select(&scores, &pattern(amount)).unwrap();
                assert_eq!(mask.is_subset_of(&previous), Ok(true), "step {step}");
                previous = mask;
            }
            let left = previous.density();
            assert!((left - 0.1).abs() < 0.03, "{left}");
        }
    }

    #[test]
    fn refuses_falling_and_impossible_schedules() {
        let refused = |initial, last, every, prunings| {
            let schedule = Gradual::new(initial, last, 0, every, prunings);
            schedule.unwrap_err().to_string()
        };
        assert!(refused(0.5, 0.4, 1, 1).contains("final sparsity = 0.4"));
        assert!(refused(-0.1, 0.4, 1, 1).contains("initial sparsity"));
        assert!(refused(0.0, f64::NAN, 1, 1).contains("final sparsity"));
        assert!(refused(0.0, 0.4, 0, 1).contains("every = 0"));
        assert!(refused(0.0, 0.4, u64::MAX, 2).contains("prunings"));
        assert!(
            Gradual::new(0.0, 0.5, 0, 1, 1)
                .unwrap()
                .with_power(0.0)
                .is_err()
        );
    }
}
