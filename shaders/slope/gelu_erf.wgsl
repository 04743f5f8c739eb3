// The distribution function plus v times the density.

import package::lib::normal::normal_distribution;

fn slope_at(v: f32) -> f32 {
    let near = clamp(v, -16.0, 16.0);
    return normal_distribution(v) + 0.3989422804 * near * exp(-0.5 * near * near);
}
