// A rectangle of words, moved Unit by Unit: a word, or four where every extent allows it.

import package::lib::grid::linear_workgroup;
import package::variant::{Unit, UNIT_WORDS, WORKGROUP_SIZE};

struct Params { // all in words
    rows: u32,
    columns: u32,
    source_offset: u32,
    source_row_stride: u32,
    target_offset: u32,
    target_row_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Unit>;
@group(0) @binding(8) var<storage, read_write> out: array<Unit>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let row_units = params.columns / UNIT_WORDS;
    let row = index / row_units;
    let word = (index % row_units) * UNIT_WORDS;
    if (row >= params.rows) {
        return;
    }
    let source = params.source_offset + row * params.source_row_stride + word;
    let destination = params.target_offset + row * params.target_row_stride + word;
    out[destination / UNIT_WORDS] = x[source / UNIT_WORDS];
}
