// The logistic function and its derivative, through exp of a value that is never positive, so that
// nothing overflows and nothing cancels.

// 1 / (1 + e^-v)
fn logistic(v: f32) -> f32 {
    let t = exp(-abs(v));
    return select(1.0, t, v < 0.0) / (1.0 + t);
}

// logistic(v) (1 - logistic(v))
fn logistic_slope(v: f32) -> f32 {
    let t = exp(-abs(v));
    let s = 1.0 + t;
    return t / (s * s);
}
