// ROWS weight rows a lane times COLUMNS rows of x: the lanes of a subgroup load one run of x together
// and hand it round by shuffles. For groups of whole runs of 32, subgroups of at least four lanes.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, COLUMNS, ROWS};
import package::matmul_quant::params::params;
import package::x::load_x8;
import package::bytes32::{OFFSET, load_bytes32};
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::{load_minimum, lift, scale_sum};
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // No lane leaves early, because others read its part of x: rows past the end are read as the last
    // row and never stored.
    let first_row = (linear_workgroup(workgroup, workgroups) * SUBGROUP + lane) * ROWS;

    let k = params.k;
    let group_runs = params.group_steps / 4u;
    let own_x = lane % 4u * 8u;
    var w_start: array<u32, ROWS>;
    var scale_start: array<u32, ROWS>;
    for (var j = 0u; j < ROWS; j++) {
        let row = min(first_row + j, params.n - 1u);
        w_start[j] = row * params.row_words;
        scale_start[j] = row * params.scale_row_stride;
    }
    var sums: array<array<f32, ROWS>, COLUMNS>;
    for (var group = 0u; group < params.groups; group++) {
        var scale: array<f32, ROWS>;
        var zero: array<i32, ROWS>;
        var minimum: array<f32, ROWS>;
        for (var j = 0u; j < ROWS; j++) {
            scale[j] = load_scale(scale_start[j] + group);
            zero[j] = load_zero(scale_start[j] + group) + OFFSET;
            minimum[j] = load_minimum(scale_start[j] + group);
        }
        var partial: array<array<f32, ROWS>, COLUMNS>;
        for (var run = group * group_runs; run < (group + 1u) * group_runs; run++) {
            var bytes: array<array<u32, 8>, ROWS>;
            for (var j = 0u; j < ROWS; j++) {
                bytes[j] = load_bytes32(w_start[j], run);
            }
            var own: array<array<vec4<f32>, 2>, COLUMNS>;
            for (var i = 0u; i < COLUMNS; i++) {
                let eight = load_x8(i, run * 32u + own_x, k);
                own[i] = array<vec4<f32>, 2>(eight.low, eight.high);
            }
            for (var quad = 0u; quad < 8u; quad++) {
                var weights: array<vec4<f32>, ROWS>;
                for (var j = 0u; j < ROWS; j++) {
                    weights[j] = lift(vec4<f32>(unpack4xI8(bytes[j][quad]) - zero[j]), scale[j], minimum[j]);
                }
                for (var i = 0u; i < COLUMNS; i++) {
                    let values = subgroupShuffle(own[i][quad % 2u], quad / 2u);
                    for (var j = 0u; j < ROWS; j++) {
                        partial[i][j] += dot(values, weights[j]);
                    }
                }
            }
        }
        for (var j = 0u; j < ROWS; j++) {
            for (var i = 0u; i < COLUMNS; i++) {
                sums[i][j] += scale_sum(partial[i][j], scale[j]);
            }
        }
    }

    for (var i = 0u; i < COLUMNS; i++) {
        for (var j = 0u; j < ROWS; j += 2u) {
            finish_pair(
                i * params.out_stride,
                params.first_column + first_row + j,
                params.first_column + params.n,
                sums[i][j],
                sums[i][j + 1u],
            );
        }
    }
}
