// Memory read once, in steps of sixteen bytes: invocation i takes elements i, i + count, ..

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
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
    var folded = vec4<u32>();
    for (var step = 0u; step < params.steps; step++) {
        folded ^= data[step * count + index];
    }
    out[index] = folded.x ^ folded.y ^ folded.z ^ folded.w;
}
