// Each lane makes one word of the mask: 32 columns of a row, each kept when its unit's score reaches the
// cut-off.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::mask::key::score_key;

struct Params {
    n: u32,
    k: u32,
    row_words: u32, // words of a row of the mask
    unit_rows: u32,
    unit_columns: u32,
    row_units: u32, // units of a row of units
    first_row: u32, // row of the matrix that this launch's first row is
    cut_stride: u32, // words from one row of units' cut-off to the next: 0 when they share one
    index_stride: u32, // indices from one row of units to the next: 0 when each row has its own
    first_index: u32, // index of the first unit
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>; // [units, row_units] f32 bits
@group(0) @binding(2) var<storage, read> cuts: array<u32>; // [units or 1, 2] key, complement of index
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
    let cut_key = cuts[unit_row * params.cut_stride];
    let cut_inverse = cuts[unit_row * params.cut_stride + 1u];
    var bits = 0u;
    for (var bit = 0u; bit < 32u; bit++) {
        let column = first_column + bit;
        if (column < params.k) {
            let unit_column = column / params.unit_columns;
            let key = score_key(scores[unit_row * params.row_units + unit_column]);
            let index = params.first_index + unit_row * params.index_stride + unit_column;
            let keeps = key > cut_key || (key == cut_key && ~index >= cut_inverse);
            bits |= select(0u, 1u, keeps) << bit;
        }
    }
    out[word] = bits;
}
