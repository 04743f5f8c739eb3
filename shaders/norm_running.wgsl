// Each lane makes two neighbours, so that 16-bit results are written as whole words.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::norm_running::params::params;
import package::element::load_bits;
import package::direction::through;
import package::pair::store_bits_pair;

fn result_bits(index: u32) -> u32 {
    let channel = (params.first + index) / params.inner % params.channels;
    return bitcast<u32>(through(bitcast<f32>(load_bits(index)), channel));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let index = 2u * pair;
    if (index >= params.count) {
        return;
    }
    // The half behind an odd count is zero, whatever lies behind the operands.
    var second = 0u;
    if (index + 1u < params.count) {
        second = result_bits(index + 1u);
    }
    store_bits_pair(pair, params.count, result_bits(index), second);
}
