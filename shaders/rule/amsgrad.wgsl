// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p - a m / (sqrt(w) c + eps),
// where w is the largest v so far

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let m = coefficient(3u) * state[3u * index] + coefficient(4u) * g;
    let v = coefficient(5u) * state[3u * index + 1u] + coefficient(6u) * (g * g);
    state[3u * index] = m;
    state[3u * index + 1u] = v;
    let largest = max(state[3u * index + 2u], v);
    state[3u * index + 2u] = largest;
    return p - coefficient(7u) * (m / (sqrt(largest) * coefficient(8u) + coefficient(9u)));
}
