// f32 activations, rows a multiple of 8 elements long: two vec4 loads.

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [m, k]

struct X8 {
    low: vec4<f32>,
    high: vec4<f32>,
}

// Elements column..column+7 of a row; column is a multiple of 8.
fn load_x8(row: u32, column: u32, k: u32) -> X8 {
    let at = (row * k + column) / 4u;
    return X8(x[at], x[at + 1u]);
}

// Elements column..column+3 of a row; column is a multiple of 4.
fn load_x4(row: u32, column: u32, k: u32) -> vec4<f32> {
    return x[(row * k + column) / 4u];
}
