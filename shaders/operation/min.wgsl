// The smaller of two.

fn apply(a: f32, b: f32) -> f32 {
    return min(a, b);
}
