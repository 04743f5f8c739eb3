// x / sqrt(mean of x^2 + epsilon) * gamma over rows, stored as int8 codes block by block. A workgroup makes a row:
// its lanes take quads for the sum of squares, then blocks.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::reduce::reduce_sum;
import package::code_blocks::store::{BlockPlace, store_block};

struct Params {
    rows: u32,
    row_blocks: u32,
    scales_start: u32,
    sums_start: u32,
    segments: u32, // of a block
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>; // [rows, 8 row_blocks]
@group(0) @binding(2) var<storage, read> gamma: array<vec4<f32>>; // [8 row_blocks]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // The same for all lanes, which meet in the sum.
    let row = linear_workgroup(workgroup, workgroups);
    if (row >= params.rows) {
        return;
    }
    let quads = 8u * params.row_blocks;
    let start = row * quads;
    var squares = 0.0;
    for (var quad = lane; quad < quads; quad += WORKGROUP_SIZE) {
        let values = x[start + quad];
        squares += dot(values, values);
    }
    squares = reduce_sum(squares, lane);
    let scale = inverseSqrt(squares / f32(4u * quads) + params.epsilon);
    let place = BlockPlace(params.scales_start, params.sums_start, params.segments);
    for (var block = lane; block < params.row_blocks; block += WORKGROUP_SIZE) {
        var values: array<vec4<f32>, 8>;
        for (var quad = 0u; quad < 8u; quad++) {
            let at = 8u * block + quad;
            values[quad] = x[start + at] * scale * gamma[at];
        }
        store_block(row * params.row_blocks + block, values, place);
    }
}
