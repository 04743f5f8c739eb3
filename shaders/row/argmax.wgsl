// Index of a row's largest element, the lowest where several are equal.

import package::row_reduce::params::params;
import package::element::load_bits;
import package::lib::order::order_key;
import package::reduce::reduce_max_u32;

// The index for the row of x that begins at element `start`.
fn reduce_row(start: u32, lane: u32, lanes: u32) -> u32 {
    // Every lane may propose element 0: it loses to anything larger, and wins ties by right.
    var best_key = order_key(load_bits(start));
    var best_column = 0u;
    for (var column = lane; column < params.columns; column += lanes) {
        let key = order_key(load_bits(start + column));
        if (key > best_key) {
            best_key = key;
            best_column = column;
        }
    }
    let row_key = reduce_max_u32(best_key, lane);
    // The smallest column is the largest complement.
    return ~reduce_max_u32(select(0u, ~best_column, best_key == row_key), lane);
}
