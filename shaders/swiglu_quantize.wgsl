// Gated rows, silu of the first half of a row times the second, stored as int8 codes block by block. A lane makes a
// block.

import package::lib::grid::linear_workgroup;
import package::lib::logistic::logistic;
import package::variant::WORKGROUP_SIZE;
import package::code_blocks::store::{BlockPlace, store_block};

struct Params {
    rows: u32,
    row_blocks: u32,
    scales_start: u32,
    sums_start: u32,
    segments: u32, // of a block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [rows, 2, 8 row_blocks]

fn gated(gate: vec4<f32>, value: vec4<f32>) -> vec4<f32> {
    let share = vec4<f32>(logistic(gate.x), logistic(gate.y), logistic(gate.z), logistic(gate.w));
    return gate * share * value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let block = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (block >= params.rows * params.row_blocks) {
        return;
    }
    let half = 8u * params.row_blocks;
    let start = block / params.row_blocks * 2u * half + block % params.row_blocks * 8u;
    var values: array<vec4<f32>, 8>;
    for (var quad = 0u; quad < 8u; quad++) {
        values[quad] = gated(x[start + quad], x[start + half + quad]);
    }
    store_block(block, values, BlockPlace(params.scales_start, params.sums_start, params.segments));
}
