// v = rho v + (1 - rho) g^2; a = rho a + (1 - rho) g;
// s = mu s + b g / (sqrt(v - a^2 + inside) + outside); p - c s

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, row: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(row, 3u) * state[3u * index] + coefficient(row, 4u) * (g * g);
    state[3u * index] = v;
    let mean = coefficient(row, 3u) * state[3u * index + 1u] + coefficient(row, 4u) * g;
    state[3u * index + 1u] = mean;
    let variance = max(v - mean * mean, 0.0);
    let s = coefficient(row, 7u) * state[3u * index + 2u] + coefficient(row, 8u) * (g / (sqrt(variance + coefficient(row, 5u)) + coefficient(row, 6u)));
    state[3u * index + 2u] = s;
    return p - coefficient(row, 9u) * s;
}
