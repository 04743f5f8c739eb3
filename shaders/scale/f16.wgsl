import package::lib::half::f16_bits_to_f32;

@group(0) @binding(3) var<storage, read> scales: array<u32>; // [n, groups] two f16 a word

fn load_scale(index: u32) -> f32 {
    return f16_bits_to_f32((scales[index / 2u] >> (16u * (index & 1u))) & 0xffffu);
}
