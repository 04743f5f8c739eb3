// v = rho v + (1 - rho) g^2; a = rho a + (1 - rho) g;
// s = mu s + b g / (sqrt(v - a^2 + inside) + outside); p - c s

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(3u) * state[3u * index] + coefficient(4u) * (g * g);
    state[3u * index] = v;
    let mean = coefficient(3u) * state[3u * index + 1u] + coefficient(4u) * g;
    state[3u * index + 1u] = mean;
    let variance = max(v - mean * mean, 0.0);
    let s = coefficient(7u) * state[3u * index + 2u] + coefficient(8u) * (g / (sqrt(variance + coefficient(5u)) + coefficient(6u)));
    state[3u * index + 2u] = s;
    return p - coefficient(9u) * s;
}
