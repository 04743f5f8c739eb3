// Tiles shared by a subgroup without memory or barriers: SUBGROUP lanes make TILE_M * SUBGROUP rows
// by TILE_N * SUBGROUP columns. Each lane loads one row of x in SUBGROUP and hands it to the others by
// shuffles; it decodes its own weights once for all rows. For groups of whole steps of sixteen.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, TILE_M, TILE_N};
import package::matmul_quant::params::params;
import package::x::load_x8;
import package::bytes16::{OFFSET, load_bytes16};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::{load_minimum, weigh};
import package::lib::epilogue::finish_pair;

const ROWS = TILE_M * SUBGROUP;
const COLUMNS = TILE_N * SUBGROUP;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + COLUMNS - 1u) / COLUMNS;
    let tile = linear_workgroup(workgroup, workgroups);
    let first_row = tile / tiles_n * ROWS;
    let first_column = tile % tiles_n * COLUMNS + lane * TILE_N;
    // The same for all lanes, as every condition around a shuffle must be.
    if (first_row >= params.m) {
        return;
    }

    let k = params.k;
    let group_steps = params.group_steps / 2u;
    var x_row: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        x_row[i] = min(first_row + i * SUBGROUP + lane, params.m - 1u);
    }
    var w_start: array<u32, TILE_N>;
    var scale_start: array<u32, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        let column = min(first_column + j, params.n - 1u);
        w_start[j] = column * params.row_words;
        scale_start[j] = column * params.scale_row_stride;
    }
    var sums: array<array<array<f32, TILE_N>, SUBGROUP>, TILE_M>;
    for (var group = 0u; group < params.groups; group++) {
        var scale: array<f32, TILE_N>;
        var zero: array<i32, TILE_N>;
        var minimum: array<f32, TILE_N>;
        for (var j = 0u; j < TILE_N; j++) {
            scale[j] = load_scale(scale_start[j] + group);
            zero[j] = load_zero(scale_start[j] + group) + OFFSET;
            minimum[j] = load_minimum(scale_start[j] + group);
        }
        for (var step = group * group_steps; step < (group + 1u) * group_steps; step++) {
            var bytes: array<array<u32, 4>, TILE_N>;
            for (var j = 0u; j < TILE_N; j++) {
                bytes[j] = load_bytes16(w_start[j], step);
            }
            var left: array<array<vec4<f32>, 4>, TILE_M>;
            for (var i = 0u; i < TILE_M; i++) {
                let first = load_x8(x_row[i], step * 16u, k);
                let second = load_x8(x_row[i], step * 16u + 8u, k);
                left[i] = array<vec4<f32>, 4>(first.low, first.high, second.low, second.high);
            }
            for (var quad = 0u; quad < 4u; quad++) {
                var weights: array<vec4<f32>, TILE_N>;
                for (var j = 0u; j < TILE_N; j++) {
                    weights[j] = weigh(vec4<f32>(unpack4xI8(bytes[j][quad]) - zero[j]), scale[j], minimum[j]);
                }
                for (var i = 0u; i < TILE_M; i++) {
                    let own = left[i][quad];
                    for (var other = 0u; other < SUBGROUP; other++) {
                        let row = subgroupShuffle(own, other);
                        for (var j = 0u; j < TILE_N; j++) {
                            sums[i][other][j] += dot(row, weights[j]);
                        }
                    }
                }
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        for (var other = 0u; other < SUBGROUP; other++) {
            let row = first_row + i * SUBGROUP + other;
            if (row < params.m) {
                for (var j = 0u; j < TILE_N; j += 2u) {
                    finish_pair(
                        row * params.out_stride,
                        params.first_column + first_column + j,
                        params.first_column + params.n,
                        sums[i][other][j],
                        sums[i][other][j + 1u],
                    );
                }
            }
        }
    }
}
