// A second result in f32.

@group(0) @binding(9) var<storage, read_write> out_second: array<f32>; // [m, n]

// Stores two neighbours of a row that has `n` columns and starts at `row_start`; column is even.
fn store_second_pair(row_start: u32, column: u32, n: u32, first: f32, second: f32) {
    if (column < n) {
        out_second[row_start + column] = first;
    }
    if (column + 1u < n) {
        out_second[row_start + column + 1u] = second;
    }
}
