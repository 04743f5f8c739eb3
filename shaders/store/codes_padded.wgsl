// int8 codes for a next product, in rows of any length, padded with zeros.

import package::matmul_int8::codes::{clear_padding, store_codes};

// Stores two neighbours of a row that has `n` columns and starts at `row_start`; column is even.
fn store_pair(row_start: u32, column: u32, n: u32, first: f32, second: f32) {
    store_codes(row_start, column, first, select(0.0, second, column + 1u < n));
    if (column + 2u >= n) {
        clear_padding(row_start, n);
    }
}
