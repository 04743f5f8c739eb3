// m = b1 m + (1 - b1) g; u = max(b2 u, |g| + inside); p - a m / (u + outside)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let m = coefficient(3u) * state[2u * index] + coefficient(4u) * g;
    let u = max(coefficient(5u) * state[2u * index + 1u], abs(g) + coefficient(6u));
    state[2u * index] = m;
    state[2u * index + 1u] = u;
    return p - coefficient(8u) * (m / (u + coefficient(7u)));
}
