// Results of parts of the keys put together: their mean, weighted by each part's share of the sum. A lane
// makes four neighbours.

import package::lib::grid::linear_workgroup;
import package::lib::share::share_below;
import package::variant::WORKGROUP_SIZE;
import package::store::store_pair;

struct Params {
    batch: u32,
    splits: u32,
    heads: u32,
    queries: u32,
    quads: u32, // of one row: dim / 4
    out_head: u32,
    out_token: u32,
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
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let rows = params.heads * params.queries;
    let quad = at % params.quads;
    let row = at / params.quads % rows;
    let sequence = at / params.quads / rows;
    if (sequence >= params.batch) {
        return;
    }
    let first = sequence * params.splits * rows + row;
    var largest = log_sums[first];
    for (var split = 1u; split < params.splits; split++) {
        largest = max(largest, log_sums[first + split * rows]);
    }
    var sum = 0.0;
    var total = vec4<f32>();
    for (var split = 0u; split < params.splits; split++) {
        let index = first + split * rows;
        let weight = share_below(log_sums[index] - largest);
        sum += weight;
        total += weight * partials[index * params.quads + quad];
    }
    let result = total / sum;
    let dim = 4u * params.quads;
    let start = sequence * rows * dim + row / params.queries * params.out_head
        + row % params.queries * params.out_token;
    store_pair(start, 4u * quad, dim, result.x, result.y);
    store_pair(start, 4u * quad + 2u, dim, result.z, result.w);
}
