// The normal distribution function, 0.5 (1 + erf(v / sqrt(2))), within 1e-7 before rounding: formula
// 7.1.26 of Abramowitz and Stegun, on the tail, so that nothing cancels. The argument is clamped where
// the tail is 0 to f32.

fn normal_tail(size: f32) -> f32 {
    let near = min(size, 16.0);
    let t = 1.0 / (1.0 + 0.23164190 * near);
    let sum = t * (0.12741479 + t * (-0.14224837 + t * (0.71070687 + t * (-0.72657601 + t * 0.53070271))));
    return sum * exp(-0.5 * near * near);
}

fn normal_distribution(v: f32) -> f32 {
    let tail = normal_tail(abs(v));
    return select(1.0 - tail, tail, v < 0.0);
}
