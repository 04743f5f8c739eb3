// Eight elements along k of each column, of any layout and length, zero past the end.

import package::variant::TILE_N;
import package::matmul_dense::params::params;
import package::matmul_dense::tile::b_column;
import package::b::load_b;

// Element of a column of the tile at k = 0.
fn b_start(matrix: u32, first_column: u32, j: u32) -> u32 {
    return b_column(matrix, first_column + j);
}

fn load_b_term(start: u32, k: u32) -> f32 {
    if (k >= params.k) {
        return 0.0;
    }
    return load_b(start + k * params.b_k_stride);
}

fn load_b_quad(start: u32, k: u32) -> vec4<f32> {
    return vec4<f32>(
        load_b_term(start, k),
        load_b_term(start, k + 1u),
        load_b_term(start, k + 2u),
        load_b_term(start, k + 3u),
    );
}

fn load_b_step(starts: array<u32, TILE_N>, k: u32) -> array<array<vec4<f32>, 2>, TILE_N> {
    var at = starts;
    var columns: array<array<vec4<f32>, 2>, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        columns[j] = array<vec4<f32>, 2>(load_b_quad(at[j], k), load_b_quad(at[j], k + 4u));
    }
    return columns;
}
