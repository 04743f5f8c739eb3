// Eight elements along k of any layout and length, zero past the end.

import package::matmul_dense::params::params;
import package::a::load_a;

fn load_a_term(start: u32, k: u32) -> f32 {
    if (k >= params.k) {
        return 0.0;
    }
    return load_a(start + k * params.a_k_stride);
}

fn load_a_quad(start: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(
        load_a_term(start, k),
        load_a_term(start, k + 1u),
        load_a_term(start, k + 2u),
        load_a_term(start, k + 3u),
    );
}

fn load_a_step(start: u32, k: u32) -> array<vec4<f32>, 2> {
    return array<vec4<f32>, 2>(load_a_quad(start, k), load_a_quad(start, k + 4u));
}
