// a, or alpha * (e^a - 1) below 0. Near 0 the difference would cancel, so a series takes its place.

import package::elementwise::params::params;

fn apply(a: f32, b: f32) -> f32 {
    let near = clamp(a, -0.25, 0.0);
    let series = near * (1.0 + near * (0.5 + near * (0.16666667 + near * (0.041666668
        + near * (0.008333334 + near * 0.0013888889)))));
    let below = select(series, exp(min(a, 0.0)) - 1.0, a < -0.25);
    return select(a, params.alpha * below, a < 0.0);
}
