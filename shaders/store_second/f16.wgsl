// A second result in f16, rounded to nearest even by integer bits. Rows have an even number of columns, so a
// word never holds elements of two rows.

import package::lib::half::f32_bits_to_f16;

@group(0) @binding(9) var<storage, read_write> out_second: array<u32>; // [m, n] two f16 a word

// Stores two neighbours of a row that has `n` columns and starts at `row_start`; column is even.
fn store_second_pair(row_start: u32, column: u32, n: u32, first: f32, second: f32) {
    if (column < n) {
        let low = f32_bits_to_f16(bitcast<u32>(first));
        let high = f32_bits_to_f16(bitcast<u32>(second));
        out_second[(row_start + column) / 2u] = low | (high << 16u);
    }
}
