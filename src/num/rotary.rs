//! Tables of cosines and sines for rotary positions, made in f64: at position 100,000 an angle in f32 is off
//! by 0.004.

/// Frequencies of the pairs of a row of `dim` elements, `base^(-2 i / dim)` (Su et al., "RoFormer", 2021).
pub fn rotary_frequencies(dim: usize, base: f64) -> Vec<f64> {
    let power = |pair: usize| -2.0 * pair as f64 / dim as f64;
    (0..dim / 2).map(|pair| base.powf(power(pair))).collect()
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
