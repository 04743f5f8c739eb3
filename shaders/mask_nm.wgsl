// Each lane makes one word of the mask: 32 columns of a row, each kept when fewer than `keep` of its
// group come before it. A score comes before another when it is larger, or equal and to the left.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::mask::key::score_key;

struct Params {
    n: u32,
    k: u32,
    row_words: u32, // words of a row of the mask
    unit_rows: u32, // rows that share their scores
    first_row: u32, // row of the matrix that this launch's first row is
    keep: u32, // of a group
    group: u32, // columns of a group, divides k
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>; // [units, k] f32 bits
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [n, row_words]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (word >= params.n * params.row_words) {
        return;
    }
    let unit_row = (params.first_row + word / params.row_words) / params.unit_rows;
    let first_column = word % params.row_words * 32u;
    let start = unit_row * params.k;
    var bits = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        let column = first_column + bit;
        if (column < params.k) {
            let key = score_key(scores[start + column]);
            let group_start = column - column % params.group;
            var before = 0u;
            for (var other = group_start; other < group_start + params.group; other++) {
                let other_key = score_key(scores[start + other]);
                let is_before = other_key > key || (other_key == key && other < column);
                before += select(0u, 1u, is_before);
            }
            bits |= select(0u, 1u, before < params.keep) << bit;
        }
    }
    out[word] = bits;
}
