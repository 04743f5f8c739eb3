// v = rho v + (1 - rho) g^2; d = sqrt(u + eps) / sqrt(v + eps) g; u = rho u + (1 - rho) d^2; p - lr d

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let rho = coefficient(3u);
    let rest = coefficient(4u);
    let epsilon = coefficient(5u);
    let v = rho * state[2u * index] + rest * (g * g);
    let u = state[2u * index + 1u];
    let d = sqrt(u + epsilon) / sqrt(v + epsilon) * g;
    state[2u * index] = v;
    state[2u * index + 1u] = rho * u + rest * (d * d);
    return p - coefficient(6u) * d;
}
