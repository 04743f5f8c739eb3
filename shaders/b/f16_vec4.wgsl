// f16 operand, four neighbours at a time.

@group(0) @binding(2) var<storage, read> matrix_b: array<vec2<u32>>; // [batch, rows, k / 4], two elements a word

// Elements index .. index + 3; index is a multiple of 4.
fn load_b4(index: u32) -> vec4<f32> {
    let words = matrix_b[index / 4u];
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
}
