// One lane for each square of 2 x 2 elements: two words in, two words out. Neighbouring lanes write
// neighbours and read a column of words.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;

struct Params { // rows of words
    row_pairs: u32, // of the source: words of a row of the result
    column_pairs: u32, // words of a row of the source
    source_offset: u32,
    source_row_stride: u32,
    target_offset: u32,
    target_row_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // [2 row_pairs, column_pairs]
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [2 column_pairs, row_pairs]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let row_pair = index % params.row_pairs;
    let column_pair = index / params.row_pairs;
    if (column_pair >= params.column_pairs) {
        return;
    }
    let source = params.source_offset + 2u * row_pair * params.source_row_stride + column_pair;
    let upper = x[source];
    let lower = x[source + params.source_row_stride];
    let destination = params.target_offset + 2u * column_pair * params.target_row_stride + row_pair;
    out[destination] = (upper & 0xffffu) | (lower << 16u);
    out[destination + params.target_row_stride] = (upper >> 16u) | (lower & 0xffff0000u);
}
