// v = a v + b g; p - (c v + d g)

import package::optimizer::params::coefficient;
import package::memory::state;

fn update(index: u32, p: f32, g: f32) -> f32 {
    let v = coefficient(3u) * state[index] + coefficient(4u) * g;
    state[index] = v;
    return p - (coefficient(5u) * v + coefficient(6u) * g);
}
