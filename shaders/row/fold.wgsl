// A row folded into one f32: each lane takes every LANES-th element, then the lanes are combined.

import package::row_reduce::params::params;
import package::element::load_bits;
import package::reduction::{initial, accumulate, finish};

// Bits of the result for the row of x that begins at element `start`.
fn reduce_row(start: u32, lane: u32, lanes: u32) -> u32 {
    var total = initial(bitcast<f32>(load_bits(start)));
    for (var column = lane; column < params.columns; column += lanes) {
        total = accumulate(total, bitcast<f32>(load_bits(start + column)));
    }
    return bitcast<u32>(finish(total, lane, params.columns));
}
