// f16 activations, one at a time: rows may be odd, so a word may hold elements of two rows.

@group(0) @binding(1) var<storage, read> x: array<u32>; // [m, k] two f16 a word

fn load_x1(index: u32) -> f32 {
    return unpack2x16float(x[index / 2u] >> (16u * (index & 1u))).x;
}
