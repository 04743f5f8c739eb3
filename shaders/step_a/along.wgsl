// Eight neighbours along k, k a multiple of 8: two loads of four.

import package::a::load_a4;

fn load_a_step(start: u32, k: u32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(load_a4(start + k), load_a4(start + k + 4u));
}
