// Each lane writes one word.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;

struct Params {
    count: u32, // words
    value: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [count]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (index < params.count) {
        out[index] = params.value;
    }
}
