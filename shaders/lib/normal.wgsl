// The normal distribution function, 0.5 (1 + erf(v / sqrt(2))), from its tail, so that nothing cancels:
// 0.5 t e^(P(t) - size^2 / 2) with t = 1 / (1 + size / sqrt(8)), a fit whose error is 1.2e-7 of the tail
// (Press et al., Numerical Recipes, section 6.2, erfcc). Clamped where the tail is 0 to f32.

fn normal_tail(size: f32) -> f32 {
    let near = min(size, 16.0);
    let t = 1.0 / (1.0 + 0.35355338 * near);
    let fit = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
        + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277))))))));
    return 0.5 * t * exp(fit) * exp(-0.5 * near * near);
}

fn normal_distribution(v: f32) -> f32 {
    let tail = normal_tail(abs(v));
    return select(1.0 - tail, tail, v < 0.0);
}
