// G = G + g^2; p - lr g / (sqrt(G + inside) + outside)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let sum = state[index] + g * g;
    state[index] = sum;
    return p - coefficient(3u) * (g / (sqrt(sum + coefficient(4u)) + coefficient(5u)));
}
