// v = rho v + (1 - rho) g^2; p - c b g / (sqrt(v + inside) + outside)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, row: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(row, 3u) * state[index] + coefficient(row, 4u) * (g * g);
    state[index] = v;
    return p - coefficient(row, 9u) * (coefficient(row, 8u) * (g / (sqrt(v + coefficient(row, 5u)) + coefficient(row, 6u))));
}
