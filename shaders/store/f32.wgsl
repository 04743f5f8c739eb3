@group(0) @binding(8) var<storage, read_write> out: array<f32>; // [m, n]

// Stores two neighbours of a row that has `n` columns and starts at `row_start`; column is even.
fn store_pair(row_start: u32, column: u32, n: u32, first: f32, second: f32) {
    if (column < n) {
        out[row_start + column] = first;
    }
    if (column + 1u < n) {
        out[row_start + column + 1u] = second;
    }
}
