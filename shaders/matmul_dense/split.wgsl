// Few outputs of long sums: the lanes of a workgroup take every WORKGROUP_SIZE-th step of eight along k
// of a tile of COLUMNS rows of a by ROWS columns of b, and add their sums in a fixed order at the end.

import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, WORKGROUP_SIZE};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{tile_at, a_row, out_row};
import package::step_a::load_a_step;
import package::step_b::{b_start, load_b_step};
import package::product::{Element, product4};
import package::reduce_many::reduce_sums;
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = tile_at(linear_workgroup(workgroup, workgroups), COLUMNS, ROWS);
    // The same for all lanes of a workgroup, so that barriers stay uniform.
    if (tile.matrix >= params.batch) {
        return;
    }

    var a_at: array<u32, COLUMNS>;
    for (var i = 0u; i < COLUMNS; i++) {
        a_at[i] = a_row(tile.matrix, tile.first_row + i);
    }
    var b_at: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        b_at[j] = b_start(tile.matrix, tile.first_column, j);
    }
    var sums: array<f32, COLUMNS * ROWS>;
    for (var k = 8u * lane; k < params.k; k += 8u * WORKGROUP_SIZE) {
        let right = load_b_step(b_at, k);
        for (var i = 0u; i < COLUMNS; i++) {
            let left = load_a_step(a_at[i], k);
            for (var j = 0u; j < ROWS; j++) {
                for (var quad = 0u; quad < 2u; quad++) {
                    sums[i * ROWS + j] += product4(vec4<Element>(left[quad]), vec4<Element>(right[j][quad]));
                }
            }
        }
    }

    reduce_sums(&sums, lane);
    if (lane == 0u) {
        for (var i = 0u; i < COLUMNS; i++) {
            let row = tile.first_row + i;
            if (row < params.m) {
                for (var j = 0u; j < ROWS; j += 2u) {
                    finish_pair(
                        out_row(tile.matrix, row),
                        params.first_column + tile.first_column + j,
                        params.first_column + params.n,
                        sums[i * ROWS + j],
                        sums[i * ROWS + j + 1u],
                    );
                }
            }
        }
    }
}
