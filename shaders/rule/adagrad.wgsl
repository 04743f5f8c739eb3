// G = G + g^2; p - lr g / (sqrt(G + inside) + outside)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, row: u32, p: f32, g: f32) -> f32 {
    let sum = state[index] + g * g;
    state[index] = sum;
    return p - coefficient(row, 3u) * (g / (sqrt(sum + coefficient(row, 4u)) + coefficient(row, 5u)));
}
