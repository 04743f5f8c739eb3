fn slope_at(v: f32) -> f32 {
    return select(0.0, 1.0, v > 0.0);
}
