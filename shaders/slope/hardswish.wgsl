fn slope_at(v: f32) -> f32 {
    return select(select(v * 0.33333334 + 0.5, 1.0, v >= 3.0), 0.0, v <= -3.0);
}
