// Few rows of a: a lane makes ROWS columns of b, which lie along k, by COLUMNS rows of a, whose elements
// the lanes of a subgroup load side by side, eight at a time, and hand round by shuffles. For k in eights.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, COLUMNS, ROWS};
import package::matmul_dense::params::params;
import package::matmul_dense::tile::{a_row, b_column, out_row};
import package::a::load_a;
import package::b::load_b4;
import package::lib::epilogue::finish_pair;

const WINDOW = min(8u, SUBGROUP);
const WINDOWS = 8u / WINDOW;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + ROWS * SUBGROUP - 1u) / (ROWS * SUBGROUP);
    let tile = linear_workgroup(workgroup, workgroups);
    let matrix = tile / tiles_n;
    // The same for all lanes, as every condition around a shuffle must be.
    if (matrix >= params.batch) {
        return;
    }
    let first_column = (tile % tiles_n * SUBGROUP + lane) * ROWS;

    let terms = params.k;
    let k_stride = params.a_k_stride;
    var a_at: array<u32, COLUMNS>;
    for (var i = 0u; i < COLUMNS; i++) {
        a_at[i] = a_row(matrix, i) + lane % WINDOW * k_stride;
    }
    var b_at: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        b_at[j] = b_column(matrix, first_column + j);
    }
    var sums: array<array<f32, ROWS>, COLUMNS>;
    for (var k = 0u; k < terms; k += 8u) {
        var own: array<array<f32, WINDOWS>, COLUMNS>;
        for (var i = 0u; i < COLUMNS; i++) {
            for (var w = 0u; w < WINDOWS; w++) {
                own[i][w] = load_a(a_at[i] + (k + w * WINDOW) * k_stride);
            }
        }
        var right: array<array<vec4<f32>, 2>, ROWS>;
        for (var j = 0u; j < ROWS; j++) {
            right[j] = array<vec4<f32>, 2>(load_b4(b_at[j] + k), load_b4(b_at[j] + k + 4u));
        }
        for (var quad = 0u; quad < 2u; quad++) {
            let first_lane = 4u * quad % WINDOW;
            for (var i = 0u; i < COLUMNS; i++) {
                let source = own[i][4u * quad / WINDOW];
                let row = vec4<f32>(
                    subgroupShuffle(source, first_lane),
                    subgroupShuffle(source, first_lane + 1u),
                    subgroupShuffle(source, first_lane + 2u),
                    subgroupShuffle(source, first_lane + 3u),
                );
                for (var j = 0u; j < ROWS; j++) {
                    sums[i][j] += dot(row, right[j][quad]);
                }
            }
        }
    }

    for (var i = 0u; i < COLUMNS; i++) {
        for (var j = 0u; j < ROWS; j += 2u) {
            finish_pair(
                out_row(matrix, i),
                params.first_column + first_column + j,
                params.first_column + params.n,
                sums[i][j],
                sums[i][j + 1u],
            );
        }
    }
}
