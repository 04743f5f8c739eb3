// Rows of a table by index; an index past the table gives zeros. Each lane makes two neighbours.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::element::load_bits;
import package::store::store_pair;

struct Params {
    tokens: u32,
    width: u32,
    vocabulary: u32,
    pairs: u32, // of one row: ceil(width / 2)
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> indices: array<u32>; // [tokens]

fn entry(row: u32, column: u32) -> f32 {
    if (row >= params.vocabulary) {
        return 0.0;
    }
    return bitcast<f32>(load_bits(row * params.width + column));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let token = at / params.pairs;
    if (token >= params.tokens) {
        return;
    }
    let row = indices[token];
    let column = 2u * (at % params.pairs);
    let second = min(column + 1u, params.width - 1u);
    store_pair(token * params.width, column, params.width, entry(row, column), entry(row, second));
}
