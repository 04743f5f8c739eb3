// With s = logistic(2 u), u = sqrt(2 / pi) (v + 0.044715 v^3): s + v s' 2 u'. Clamped where s' is 0 to
// f32.

import package::lib::logistic::{logistic, logistic_slope};

fn slope_at(v: f32) -> f32 {
    let near = clamp(v, -12.0, 12.0);
    let square = near * near;
    let twice = 1.5957691216 * near * (1.0 + 0.044715 * square);
    let inner = 1.5957691216 * (1.0 + 0.134145 * square);
    return logistic(twice) + near * logistic_slope(twice) * inner;
}
