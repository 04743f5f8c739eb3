// A workgroup turns a TILE x TILE square in workgroup memory, so that both reads and writes run along
// rows.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE, WORKGROUP_SIZE};
import package::transpose::params::{params, x, out};

// One word of padding a row keeps the elements of a column in different banks.
const STRIDE = TILE + 1u;

var<workgroup> shared_tile: array<u32, TILE * STRIDE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_across = (params.columns + TILE - 1u) / TILE;
    let tile = linear_workgroup(workgroup, workgroups);
    let first_row = tile / tiles_across * TILE;
    let first_column = tile % tiles_across * TILE;
    if (first_row >= params.rows) {
        return;
    }
    for (var at = lane; at < TILE * TILE; at += WORKGROUP_SIZE) {
        let row = first_row + at / TILE;
        let column = first_column + at % TILE;
        if (row < params.rows && column < params.columns) {
            let source = params.source_offset + row * params.source_row_stride + column;
            shared_tile[at / TILE * STRIDE + at % TILE] = x[source];
        }
    }
    workgroupBarrier();
    for (var at = lane; at < TILE * TILE; at += WORKGROUP_SIZE) {
        let row = first_row + at % TILE;
        let column = first_column + at / TILE;
        if (row < params.rows && column < params.columns) {
            let destination = params.target_offset + column * params.target_row_stride + row;
            out[destination] = shared_tile[at % TILE * STRIDE + at / TILE];
        }
    }
}
