// Results of parts of the keys put together, as in attention_combine, and stored as int8 codes block by block: a row
// of codes is what one query has of all heads. A lane makes a block of one head.

import package::lib::grid::linear_workgroup;
import package::lib::share::share_below;
import package::variant::WORKGROUP_SIZE;
import package::code_blocks::store::{BlockPlace, store_block};

struct Params {
    batch: u32,
    splits: u32,
    heads: u32,
    queries: u32,
    head_blocks: u32, // blocks of a head: dim / 32
    scales_start: u32,
    sums_start: u32,
    segments: u32, // of a block
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<vec4<f32>>; // [batch, splits, heads, queries, dim / 4]
@group(0) @binding(2) var<storage, read> log_sums: array<f32>; // [batch, splits, heads, queries]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    // Blocks in the order of the codes: [batch, queries, heads, head_blocks].
    let block = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let within = block % params.head_blocks;
    let head = block / params.head_blocks % params.heads;
    let token = block / params.head_blocks / params.heads;
    let query = token % params.queries;
    let sequence = token / params.queries;
    if (sequence >= params.batch) {
        return;
    }
    let rows = params.heads * params.queries;
    let first = sequence * params.splits * rows + head * params.queries + query;
    var largest = log_sums[first];
    for (var split = 1u; split < params.splits; split++) {
        largest = max(largest, log_sums[first + split * rows]);
    }
    var sum = 0.0;
    var values: array<vec4<f32>, 8>;
    for (var split = 0u; split < params.splits; split++) {
        let index = first + split * rows;
        let weight = share_below(log_sums[index] - largest);
        sum += weight;
        let start = (index * params.head_blocks + within) * 8u;
        for (var quad = 0u; quad < 8u; quad++) {
            values[quad] += weight * partials[start + quad];
        }
    }
    for (var quad = 0u; quad < 8u; quad++) {
        values[quad] = values[quad] / sum;
    }
    store_block(block, values, BlockPlace(params.scales_start, params.sums_start, params.segments));
}
