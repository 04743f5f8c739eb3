// m = b1 m + (1 - b1) g; u = max(b2 u, |g| + inside); p - a m / (u + outside)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, row: u32, p: f32, g: f32) -> f32 {
    let m = coefficient(row, 3u) * state[2u * index] + coefficient(row, 4u) * g;
    let u = max(coefficient(row, 5u) * state[2u * index + 1u], abs(g) + coefficient(row, 6u));
    state[2u * index] = m;
    state[2u * index + 1u] = u;
    return p - coefficient(row, 8u) * (m / (u + coefficient(row, 7u)));
}
