// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p - a m / (sqrt(v) c + eps)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let m = coefficient(3u) * state[2u * index] + coefficient(4u) * g;
    let v = coefficient(5u) * state[2u * index + 1u] + coefficient(6u) * (g * g);
    state[2u * index] = m;
    state[2u * index + 1u] = v;
    return p - coefficient(7u) * (m / (sqrt(v) * coefficient(8u) + coefficient(9u)));
}
