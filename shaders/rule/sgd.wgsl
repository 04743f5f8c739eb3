// p - lr g

import package::optimizer::params::coefficient;

fn update(index: u32, row: u32, p: f32, g: f32) -> f32 {
    return p - coefficient(row, 3u) * g;
}
