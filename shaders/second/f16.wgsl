// The second operand, stored as f16.

import package::lib::widen::f16_to_f32_bits;

@group(0) @binding(2) var<storage, read> b_values: array<u32>; // two f16 a word

fn load_b_element(index: u32) -> f32 {
    return bitcast<f32>(f16_to_f32_bits((b_values[index / 2u] >> (16u * (index & 1u))) & 0xffffu));
}
