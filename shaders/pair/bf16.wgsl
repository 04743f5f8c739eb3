// Two neighbours given as f32 bits, rounded to bf16, nearest even: one whole word.

import package::lib::half::f32_bits_to_bf16;

@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [count] two bf16 a word

// Elements 2 * pair and 2 * pair + 1 of `count`; the caller gives zero for one past the end.
fn store_bits_pair(pair: u32, count: u32, first: u32, second: u32) {
    out[pair] = f32_bits_to_bf16(first) | (f32_bits_to_bf16(second) << 16u);
}
