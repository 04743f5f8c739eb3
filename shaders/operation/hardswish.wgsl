// a * clamp(a + 3, 0, 6) / 6

fn apply(a: f32, b: f32) -> f32 {
    return a * clamp(a * 0.16666667 + 0.5, 0.0, 1.0);
}
