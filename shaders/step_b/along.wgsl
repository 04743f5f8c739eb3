// Eight neighbours along k of each column, k a multiple of 8: two loads of four.

import package::variant::TILE_N;
import package::matmul_dense::tile::b_column;
import package::b::load_b4;

// Element of a column of the tile at k = 0.
fn b_start(matrix: u32, first_column: u32, j: u32) -> u32 {
    return b_column(matrix, first_column + j);
}

fn load_b_step(starts: array<u32, TILE_N>, k: u32) -> array<array<vec4<f32>, 2>, TILE_N> {
    var at = starts;
    var columns: array<array<vec4<f32>, 2>, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        columns[j] = array<vec4<f32>, 2>(load_b4(at[j] + k), load_b4(at[j] + k + 4u));
    }
    return columns;
}
