// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p - (a m / (sqrt(v) + eps) + b m),
// where a or b is 0

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, row: u32, p: f32, g: f32) -> f32 {
    let m = coefficient(row, 3u) * state[2u * index] + coefficient(row, 4u) * g;
    let v = coefficient(row, 5u) * state[2u * index + 1u] + coefficient(row, 6u) * (g * g);
    state[2u * index] = m;
    state[2u * index + 1u] = v;
    return p - (coefficient(row, 7u) * (m / (sqrt(v) + coefficient(row, 8u))) + coefficient(row, 9u) * m);
}
