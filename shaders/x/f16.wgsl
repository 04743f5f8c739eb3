// f16 activations, rows of any length: eight guarded loads, decoded by integer bits.

import package::lib::half::f16_bits_to_f32;

@group(0) @binding(1) var<storage, read> x: array<u32>; // [m, k] two f16 a word

struct X8 {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn load_x(row: u32, column: u32, k: u32) -> f32 {
    if (column >= k) {
        return 0.0;
    }
    let at = row * k + column;
    return f16_bits_to_f32((x[at / 2u] >> (16u * (at & 1u))) & 0xffffu);
}

// Elements column..column+7 of a row, zero past its end.
fn load_x8(row: u32, column: u32, k: u32) -> X8 {
    return X8(
        vec4<f32>(load_x(row, column, k), load_x(row, column + 1u, k), load_x(row, column + 2u, k), load_x(row, column + 3u, k)),
        vec4<f32>(load_x(row, column + 4u, k), load_x(row, column + 5u, k), load_x(row, column + 6u, k), load_x(row, column + 7u, k)),
    );
}

// Elements column..column+3 of a row, zero past its end.
fn load_x4(row: u32, column: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(load_x(row, column, k), load_x(row, column + 1u, k), load_x(row, column + 2u, k), load_x(row, column + 3u, k));
}
