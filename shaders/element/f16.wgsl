// One f16 element as the bits of the same f32.

import package::lib::widen::f16_to_f32_bits;

@group(0) @binding(1) var<storage, read> x: array<u32>; // [count] two f16 a word

fn load_bits(index: u32) -> u32 {
    return f16_to_f32_bits((x[index / 2u] >> (16u * (index & 1u))) & 0xffffu);
}
