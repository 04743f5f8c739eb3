// Memory read once, in steps of sixteen bytes: each invocation takes a run of its own from end to end,
// IN_FLIGHT elements between two loop heads.

import package::lib::grid::linear_workgroup;
import package::variant::{IN_FLIGHT, WORKGROUP_SIZE};
import package::roofline::params::params;

@group(0) @binding(1) var<storage, read> data: array<vec4<u32>>; // [count, steps]
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
    let first = index * params.steps;
    let steps = params.steps;
    var each: array<vec4<u32>, IN_FLIGHT>;
    var step = 0u;
    for (; step + IN_FLIGHT <= steps; step += IN_FLIGHT) {
        for (var i = 0u; i < IN_FLIGHT; i++) {
            each[i] ^= data[first + step + i];
        }
    }
    var folded = vec4<u32>();
    for (; step < steps; step++) {
        folded ^= data[first + step];
    }
    for (var i = 0u; i < IN_FLIGHT; i++) {
        folded ^= each[i];
    }
    out[index] = folded.x ^ folded.y ^ folded.z ^ folded.w;
}
