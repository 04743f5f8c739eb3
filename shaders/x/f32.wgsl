// f32 activations, rows of any length: eight guarded loads.

@group(0) @binding(1) var<storage, read> x: array<f32>; // [m, k]

struct X8 {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn load_x(row: u32, column: u32, k: u32) -> f32 {
    if (column >= k) {
        return 0.0;
    }
    return x[row * k + column];
}

// Elements column..column+7 of a row, zero past its end.
fn load_x8(row: u32, column: u32, k: u32) -> X8 {
    return X8(
        vec4<f32>(load_x(row, column, k), load_x(row, column + 1u, k), load_x(row, column + 2u, k), load_x(row, column + 3u, k)),
        vec4<f32>(load_x(row, column + 4u, k), load_x(row, column + 5u, k), load_x(row, column + 6u, k), load_x(row, column + 7u, k)),
    );
}

// Elements column..column+3 of a row, zero past its end.
fn load_x4(row: u32, column: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(load_x(row, column, k), load_x(row, column + 1u, k), load_x(row, column + 2u, k), load_x(row, column + 3u, k));
}
