// v = rho v + (1 - rho) g^2; p - c b g / (sqrt(v + inside) + outside)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(3u) * state[index] + coefficient(4u) * (g * g);
    state[index] = v;
    return p - coefficient(9u) * (coefficient(8u) * (g / (sqrt(v + coefficient(5u)) + coefficient(6u))));
}
