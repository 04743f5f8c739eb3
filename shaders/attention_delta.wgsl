// What the gradient of attention needs of each row: the logarithm of its sum, and the product of the result
// with its gradient. A lane a row.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::a::load_a4;
import package::b::load_b4;

struct Params {
    rows: u32,
    heads: u32,
    queries: u32,
    quads: u32, // of one row: dim / 4
    out_head: u32,
    out_token: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> log_sums: array<f32>; // [batch, heads, queries]
@group(0) @binding(8) var<storage, read_write> statistics: array<vec2<f32>>; // [batch, heads, queries]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (row >= params.rows) {
        return;
    }
    let sequence = row / params.queries / params.heads;
    let head = row / params.queries % params.heads;
    let start = sequence * params.heads * params.queries * params.quads * 4u + head * params.out_head
        + row % params.queries * params.out_token;
    var sum = 0.0;
    for (var quad = 0u; quad < params.quads; quad++) {
        sum += dot(load_a4(start + 4u * quad), load_b4(start + 4u * quad));
    }
    statistics[row] = vec2<f32>(log_sums[row], sum);
}
