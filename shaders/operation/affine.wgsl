// alpha * a + beta

import package::elementwise::params::params;

fn apply(a: f32, b: f32) -> f32 {
    return params.alpha * a + params.beta;
}
