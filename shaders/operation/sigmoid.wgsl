// 1 / (1 + e^-a), through exp of a value that is never positive, so that nothing overflows.

fn apply(a: f32, b: f32) -> f32 {
    let t = exp(-abs(a));
    return select(1.0, t, a < 0.0) / (1.0 + t);
}
