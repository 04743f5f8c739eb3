//! Tables of cosines and sines for rotary positions, made in f64: at position 100,000 an angle in f32 is off
//! by 0.004.

/// Frequencies of the pairs of a row of `dim` elements, `base^(-2 i / dim)` (Su et al., "RoFormer", 2021).
pub fn rotary_frequencies(dim: usize, base: f64) -> Vec<f64> {
    let power = |pair: usize| -2.0 * pair as f64 / dim as f64;
    (0..dim / 2).map(|pair| base.powf(power(pair))).collect()
}

/// How a model that was trained on short texts turns slower, to take longer ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RotaryScaling {
    /// Not at all.
    None,
    /// Every frequency divided by a factor (Chen et al., "Position Interpolation", 2023).
    Linear {
        /// Above 0.
        factor: f64,
    },
    /// Pairs that turn less than `low` times within `context` positions divided by `factor`, those that turn more
    /// than `high` times left alone, and between them a mean of both, as Llama 3.1 has it.
    Llama3 {
        /// Above 0.
        factor: f64,
        /// Turns, above 0 and below `high`.
        low: f64,
        /// Turns.
        high: f64,
        /// Positions the model was first trained on.
        context: f64,
    },
}

impl RotaryScaling {
    /// The frequency of a pair whose own is `frequency`, in radians a position.
    #[must_use]
    pub fn scaled(self, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 {
                factor,
                low,
                high,
                context,
            } => {
                let turns = context * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                kept * frequency + (1.0 - kept) * (frequency / factor)
            }
        }
    }
}

/// `[positions, frequencies, 2]`: cosine and sine of `position * frequency`, rounded to f32.
pub fn rotary_table(positions: usize, frequencies: &[f64]) -> Vec<f32> {
    let row = |position: usize| {
        frequencies.iter().flat_map(move |frequency| {
            let (sine, cosine) = (position as f64 * frequency).sin_cos();
            [cosine as f32, sine as f32]
        })
    };
    (0..positions).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_leaves_fast_pairs_alone_slows_slow_ones_and_blends_those_between() {
        // Llama 3.2 1B, by the formula of `transformers` in f64.
        let scaling = RotaryScaling::Llama3 {
            factor: 32.0,
            low: 1.0,
            high: 4.0,
            context: 8192.0,
        };
        let golden = [
            (0, 1.0),
            (14, 0.003_211_445_994_752_591),
            (15, 0.001_290_547_928_209_264),
            (16, 0.000_429_556_796_559_368_15),
            (17, 9.708_287_802_627_67e-5),
            (18, 1.946_163_818_483_112_5e-5),
            (31, 9.418_306_725_434_91e-8),
        ];
        let frequencies = rotary_frequencies(64, 500_000.0);
        for (pair, expected) in golden {
            let found = scaling.scaled(frequencies[pair]);
            assert!(
                (found / expected - 1.0).abs() < 1e-12,
                "pair {pair}: {found} for {expected}"
            );
        }
        assert_eq!(RotaryScaling::Linear { factor: 4.0 }.scaled(2.0), 0.5);
        assert_eq!(RotaryScaling::None.scaled(2.0), 2.0);
    }

    #[test]
    fn the_first_pair_turns_by_one_radian_a_position_and_the_others_slower() {
        let frequencies = rotary_frequencies(4, 10_000.0);
        assert_eq!(frequencies[0], 1.0);
        assert!((frequencies[1] - 0.01).abs() < 1e-15);
        let table = rotary_table(3, &frequencies);
        assert_eq!(table[..4], [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(table[8], 2f64.cos() as f32);
        assert_eq!(table[11], 0.02f64.sin() as f32);
    }
}
