// Memory read once, in steps of sixteen bytes: invocation i takes elements i, i + count, .., IN_FLIGHT of
// them between two loop heads.

import package::lib::grid::linear_workgroup;
import package::variant::{IN_FLIGHT, WORKGROUP_SIZE};
import package::roofline::params::params;

@group(0) @binding(1) var<storage, read> data: array<vec4<u32>>; // [steps, count]
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [count]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (index >= params.count) {
        return;
    }
    let count = params.count;
    let steps = params.steps;
    var each: array<vec4<u32>, IN_FLIGHT>;
    var step = 0u;
    for (; step + IN_FLIGHT <= steps; step += IN_FLIGHT) {
        for (var i = 0u; i < IN_FLIGHT; i++) {
            each[i] ^= data[(step + i) * count + index];
        }
    }
    var folded = vec4<u32>();
    for (; step < steps; step++) {
        folded ^= data[step * count + index];
    }
    for (var i = 0u; i < IN_FLIGHT; i++) {
        folded ^= each[i];
    }
    out[index] = folded.x ^ folded.y ^ folded.z ^ folded.w;
}
