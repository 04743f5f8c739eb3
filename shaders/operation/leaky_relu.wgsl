// a, or alpha * a below 0

import package::elementwise::params::params;

fn apply(a: f32, b: f32) -> f32 {
    return select(a, params.alpha * a, a < 0.0);
}
