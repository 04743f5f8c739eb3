// v = rho v + (1 - rho) g^2; s = mu s + b g / (sqrt(v + inside) + outside); p - c s

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(3u) * state[2u * index] + coefficient(4u) * (g * g);
    state[2u * index] = v;
    let s = coefficient(7u) * state[2u * index + 1u] + coefficient(8u) * (g / (sqrt(v + coefficient(5u)) + coefficient(6u)));
    state[2u * index + 1u] = s;
    return p - coefficient(9u) * s;
}
