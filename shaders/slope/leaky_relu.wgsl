import package::activation_backward::params::params;

fn slope_at(v: f32) -> f32 {
    return select(params.alpha, 1.0, v > 0.0);
}
