// Two neighbours of a row. Where they are two runs of a channel, they are stored one by one.

import package::norm::params::params;
import package::place::element_index;
import package::store::store_pair;

fn store_two(row: u32, column: u32, first: f32, second: f32) {
    let at = element_index(row, column);
    let both = column + 1u < params.columns;
    if (both && element_index(row, column + 1u) == at + 1u) {
        store_pair(at, 0u, 2u, first, second);
        return;
    }
    // Only 32-bit results come here: 16-bit ones have even runs.
    store_pair(at, 0u, 1u, first, 0.0);
    if (both) {
        store_pair(element_index(row, column + 1u), 0u, 1u, second, 0.0);
    }
}
