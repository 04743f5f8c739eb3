import package::lib::half::f16_bits_to_f32;

@group(0) @binding(3) var<storage, read> scales: array<u32>; // [n, groups] two f16 a word

fn scale_half(word: u32, half: u32) -> f32 {
    return f16_bits_to_f32((word >> (16u * half)) & 0xffffu);
}

fn load_scale(index: u32) -> f32 {
    return scale_half(scales[index / 2u], index & 1u);
}

// Scales of two neighbouring groups; index is even.
fn load_scale_pair(index: u32) -> vec2<f32> {
    let word = scales[index / 2u];
    return vec2<f32>(scale_half(word, 0u), scale_half(word, 1u));
}
