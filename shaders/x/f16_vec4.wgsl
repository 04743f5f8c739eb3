// f16 activations, rows a multiple of 8 elements long: one vec4 load.

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>; // [m, k] two f16 a word

struct X8 {
    low: vec4<f32>,
    high: vec4<f32>,
}

// Elements column..column+7 of a row; column is a multiple of 8.
fn load_x8(row: u32, column: u32, k: u32) -> X8 {
    let words = x[(row * k + column) / 8u];
    return X8(
        vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)),
        vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w)),
    );
}

// Elements column..column+3 of a row; column is a multiple of 4.
fn load_x4(row: u32, column: u32, k: u32) -> vec4<f32> {
    let at = row * k + column;
    let words = x[at / 8u];
    let half = select(words.xy, words.zw, at % 8u >= 4u);
    return vec4<f32>(unpack2x16float(half.x), unpack2x16float(half.y));
}
