// dx = dy * f'(x). Each lane makes two neighbours, so that 16-bit results are written as whole words.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::activation_backward::params::params;
import package::element::load_bits;
import package::second::load_b_element;
import package::slope::slope_at;
import package::pair::store_bits_pair;

fn gradient_bits(index: u32) -> u32 {
    return bitcast<u32>(load_b_element(index) * slope_at(bitcast<f32>(load_bits(index))));
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
        second = gradient_bits(index + 1u);
    }
    store_bits_pair(pair, params.count, gradient_bits(index), second);
}
