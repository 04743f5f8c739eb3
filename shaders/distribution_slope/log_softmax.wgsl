// dx = dy - e^y (sum of dy)

fn weighted(y: f32, dy: f32) -> f32 {
    return dy;
}

fn through(y: f32, dy: f32, sum: f32) -> f32 {
    return dy - exp(max(y, -100.0)) * sum;
}
