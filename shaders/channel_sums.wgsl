// Sums over items and inner elements of x [items, channels, inner], a chunk of items at a time and always
// in the same order.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::channel_sums::params::params;
import package::term::summand;
import package::reduce::reduce_sum;

@group(0) @binding(8) var<storage, read_write> out: array<f32>; // [chunks, channels]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = row_index(linear_workgroup(workgroup, workgroups), lane);
    if (at >= params.sums) {
        return;
    }
    let channel = at % params.channels;
    let first_item = at / params.channels * params.chunk;
    let count = min(params.chunk, params.items - first_item) * params.inner;
    var sum = 0.0;
    for (var element = first_element(lane); element < count; element += LANE_STEP) {
        let item = first_item + element / params.inner;
        let index = (item * params.channels + channel) * params.inner + element % params.inner;
        sum += summand(index, item, channel);
    }
    sum = reduce_sum(sum, lane);
    if (first_element(lane) == 0u) {
        out[at] = sum;
    }
}
