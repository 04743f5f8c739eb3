// The second operand, stored as bf16.

import package::lib::widen::bf16_to_f32_bits;

@group(0) @binding(2) var<storage, read> b_values: array<u32>; // two bf16 a word

fn load_b_element(index: u32) -> f32 {
    return bitcast<f32>(bf16_to_f32_bits((b_values[index / 2u] >> (16u * (index & 1u))) & 0xffffu));
}
