// Square root. Zero and subnormals give 0: through 1 / inverseSqrt they would be undefined.

fn apply(a: f32, b: f32) -> f32 {
    return select(sqrt(a), 0.0, abs(a) < 0x1p-126f);
}
