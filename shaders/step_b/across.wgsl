// Eight elements along k of four neighbouring columns, for b with k first, n a multiple of 4 and k of 8:
// a load of four columns for each k, turned over in registers. TILE_N is 4.

import package::variant::TILE_N;
import package::matmul_dense::params::params;
import package::b::load_b4;

// Element of the tile's first column at k = 0, whichever column. Tiles past the end repeat the last one.
fn b_start(matrix: u32, first_column: u32, j: u32) -> u32 {
    return matrix * params.b_batch_stride + min(first_column, params.n - 4u);
}

fn load_b_step(starts: array<u32, TILE_N>, k: u32) -> array<array<vec4<f32>, 2>, TILE_N> {
    let at = starts[0] + k * params.b_k_stride;
    var columns: array<array<vec4<f32>, 2>, TILE_N>;
    for (var quad = 0u; quad < 2u; quad++) {
        let first = at + 4u * quad * params.b_k_stride;
        let rows = transpose(mat4x4<f32>(
            load_b4(first),
            load_b4(first + params.b_k_stride),
            load_b4(first + 2u * params.b_k_stride),
            load_b4(first + 3u * params.b_k_stride),
        ));
        for (var j = 0u; j < TILE_N; j++) {
            columns[j][quad] = rows[j];
        }
    }
    return columns;
}
