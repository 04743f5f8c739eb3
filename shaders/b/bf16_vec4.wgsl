// bf16 operand, four neighbours at a time.

@group(0) @binding(2) var<storage, read> matrix_b: array<vec2<u32>>; // [batch, rows, k / 4], two elements a word

// Elements index .. index + 3; index is a multiple of 4.
fn load_b4(index: u32) -> vec4<f32> {
    let words = matrix_b[index / 4u];
    let low = words << vec2<u32>(16u);
    let high = words & vec2<u32>(0xffff0000u);
    return bitcast<vec4<f32>>(vec4<u32>(low.x, high.x, low.y, high.y));
}
