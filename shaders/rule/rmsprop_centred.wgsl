// v = rho v + (1 - rho) g^2; a = rho a + (1 - rho) g;
// p - c b g / (sqrt(v - a^2 + inside) + outside), where rounding cannot make v - a^2 negative

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(3u) * state[2u * index] + coefficient(4u) * (g * g);
    state[2u * index] = v;
    let mean = coefficient(3u) * state[2u * index + 1u] + coefficient(4u) * g;
    state[2u * index + 1u] = mean;
    let variance = max(v - mean * mean, 0.0);
    return p - coefficient(9u) * (coefficient(8u) * (g / (sqrt(variance + coefficient(5u)) + coefficient(6u))));
}
