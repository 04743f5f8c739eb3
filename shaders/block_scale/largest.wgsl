// The scale that a block's largest magnitude gives, and its reciprocal.

import package::variant::LANES;
import package::x::load_x8;
import package::reduce::reduce_max_u32;
import package::quantize_rows::params::params;
import package::quantize_rows::code::{largest_of, magnitude_bits, scale_of};

// Steps first, first + LANES and so on, before `end`, are this lane's; all lanes of a block meet.
fn block_scale(row: u32, first: u32, end: u32, lane: u32) -> vec2<f32> {
    var largest = 0u;
    for (var step = first; step < end; step += LANES) {
        let values = load_x8(row, step * 8u, params.k);
        largest = max(largest, largest_of(max(magnitude_bits(values.low), magnitude_bits(values.high))));
    }
    return scale_of(bitcast<f32>(reduce_max_u32(largest, lane)));
}
