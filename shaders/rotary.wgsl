// Rows of heads turned by the angles of their positions, and put where they belong, in a cache if need be.
// A lane takes four neighbours of each half of a row.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::a::load_a4;
import package::rotation::rotate;
import package::store::store_pair;

struct Params {
    batch: u32,
    heads: u32,
    tokens: u32,
    quads: u32, // of half a row: dim / 8
    positions: u32, // rows of the table
    capacity: u32, // rows of a head of the result
    append: u32, // 1 where tokens are put at their positions
    direction: f32, // -1 turns back
    x_offset: u32,
    x_batch: u32,
    x_head: u32,
    x_token: u32,
    out_offset: u32,
    out_batch: u32,
    out_head: u32,
    out_token: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> starts: array<u32>; // [batch] position of the first token

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let quad = at % params.quads;
    let head = at / params.quads % params.heads;
    let token = at / params.quads / params.heads % params.tokens;
    let sequence = at / params.quads / params.heads / params.tokens;
    if (sequence >= params.batch) {
        return;
    }
    // Kept below the limit before the sum, which cannot wrap then.
    let first = min(starts[sequence], max(params.positions, params.capacity));
    let position = first + token;
    let row = select(token, position, params.append == 1u);
    if (row >= params.capacity) {
        return;
    }
    let half_row = 4u * params.quads;
    let x = params.x_offset + sequence * params.x_batch + head * params.x_head + token * params.x_token + 4u * quad;
    let table_row = min(position, params.positions - 1u) * half_row;
    let turned = rotate(load_a4(x), load_a4(x + half_row), table_row, quad, params.quads, params.direction);
    let out_row = params.out_offset + sequence * params.out_batch + head * params.out_head + row * params.out_token;
    for (var i = 0u; i < 2u; i++) {
        let column = i * half_row + 4u * quad;
        store_pair(out_row, column, 2u * half_row, turned[i].x, turned[i].y);
        store_pair(out_row, column + 2u, 2u * half_row, turned[i].z, turned[i].w);
    }
}
