// The scale has the other sign than the first element of largest magnitude, which so gets the most negative
// code.

import package::lanes::{LANE_STEP, first_element};
import package::element::load_bits;
import package::quant_scales::params::params;
import package::reduce::reduce_max_u32;

fn sign_bit(start: u32, largest: u32, lane: u32) -> u32 {
    // The smallest column is the largest complement.
    var found = 0u;
    for (var column = first_element(lane); column < params.columns; column += LANE_STEP) {
        let is_largest = (load_bits(start + column) & 0x7fffffffu) == largest;
        found = max(found, select(0u, ~column, is_largest));
    }
    found = reduce_max_u32(found, lane);
    // A row of zeros has a positive scale.
    return select(0u, ~load_bits(start + ~found) & 0x80000000u, largest > 0u);
}
