// What follows a matrix product: activate(sum + bias) + residual, then the store.

import package::bias::load_bias;
import package::activation::activate;
import package::residual::load_residual;
import package::store::store_pair;

// Finishes two neighbours of one output row. `row_start` is the index of the row's first element,
// `column` is even and counts from the start of the row.
fn finish_pair(row_start: u32, column: u32, n: u32, first: f32, second: f32) {
    if (column >= n) {
        return;
    }
    let second_column = min(column + 1u, n - 1u);
    let left = activate(first + load_bias(column)) + load_residual(row_start + column);
    let right = activate(second + load_bias(second_column)) + load_residual(row_start + second_column);
    store_pair(row_start, column, n, left, right);
}
