// dx = y (dy - the sum of y dy)

fn weighted(y: f32, dy: f32) -> f32 {
    return y * dy;
}

fn through(y: f32, dy: f32, sum: f32) -> f32 {
    return y * (dy - sum);
}
