// p - lr g

import package::optimizer::params::coefficient;

fn update(index: u32, p: f32, g: f32) -> f32 {
    return p - coefficient(3u) * g;
}
