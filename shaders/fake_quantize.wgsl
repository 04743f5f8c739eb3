// scale (clamp(round(x / scale) + zero) - zero). Each lane makes two neighbours, so that 16-bit results are
// written as whole words. NaN stays what it is.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::fake_quantize::params::params;
import package::element::load_bits;
import package::lib::steps::{steps_of, usable_scale};
import package::zero::load_zero;
import package::pair::store_bits_pair;

@group(0) @binding(3) var<storage, read> scales: array<u32>; // f32 [rows] or [1]

fn result_bits(index: u32) -> u32 {
    let at = (index / params.columns) * params.scale_stride;
    let bits = load_bits(index);
    let scale = usable_scale(scales[at]);
    let zero = load_zero(at);
    let code = clamp(steps_of(bits, scale).nearest + zero, params.min_code, params.max_code);
    let value = f32(code - zero) * bitcast<f32>(scale);
    return select(bitcast<u32>(value), bits, (bits & 0x7fffffffu) > 0x7f800000u);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let count = params.rows * params.columns;
    let index = 2u * pair;
    if (index >= count) {
        return;
    }
    // The half behind an odd count is zero, whatever lies behind the operands.
    var second = 0u;
    if (index + 1u < count) {
        second = result_bits(index + 1u);
    }
    store_bits_pair(pair, count, result_bits(index), second);
}
