// Each lane makes one word of the result: one f32, or two elements of 16 bits. Bits are kept or cleared,
// never computed with, so that what is kept is unchanged and what is not is +0.

import package::lib::grid::linear_workgroup;
import package::variant::{WORD_ELEMENTS, WORKGROUP_SIZE};

struct Params {
    n: u32,
    k: u32,
    row_words: u32, // words of a row of the mask
    unit_rows: u32,
    unit_columns: u32,
    first_row: u32, // row of the matrix that this launch's first row is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>; // [n, k] WORD_ELEMENTS a word
@group(0) @binding(2) var<storage, read> mask: array<u32>; // [units, row_words] a bit per unit
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [n, k] WORD_ELEMENTS a word

const ELEMENT_BITS = 32u / WORD_ELEMENTS;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let word = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let elements = params.n * params.k;
    if (word * WORD_ELEMENTS >= elements) {
        return;
    }
    var keep = 0u;
    for (var part = 0u; part < WORD_ELEMENTS; part++) {
        let element = word * WORD_ELEMENTS + part;
        if (element < elements) {
            let unit_row = (params.first_row + element / params.k) / params.unit_rows;
            let unit_column = element % params.k / params.unit_columns;
            let bits = mask[unit_row * params.row_words + unit_column / 32u];
            let all = 0xffffffffu >> (32u - ELEMENT_BITS);
            keep |= select(0u, all, ((bits >> (unit_column % 32u)) & 1u) != 0u) << (part * ELEMENT_BITS);
        }
    }
    out[word] = x[word] & keep;
}
