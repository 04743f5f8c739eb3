// The scale that a block's largest magnitude gives, and its reciprocal.

import package::variant::LANES;
import package::x::load_x8;
import package::reduce::reduce_max;
import package::quantize_rows::params::params;
import package::quantize_rows::code::scale_of;

// Steps first, first + LANES and so on, before `end`, are this lane's; all lanes of a block meet.
fn block_scale(row: u32, first: u32, end: u32, lane: u32) -> vec2<f32> {
    var largest = 0.0;
    for (var step = first; step < end; step += LANES) {
        let values = load_x8(row, step * 8u, params.k);
        let magnitudes = max(abs(values.low), abs(values.high));
        largest = max(largest, max(max(magnitudes.x, magnitudes.y), max(magnitudes.z, magnitudes.w)));
    }
    return scale_of(reduce_max(largest, lane));
}
