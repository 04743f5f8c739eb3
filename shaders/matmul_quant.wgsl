// Register tiles: each lane makes TILE_M x TILE_N outputs and shares nothing with the others.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE_M, TILE_N, WORKGROUP_SIZE};
import package::matmul_quant::params::params;
import package::x::load_x8;
import package::codes::load_codes8;
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::{load_minimum, lift, scale_sum};
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_n = (params.n + TILE_N - 1u) / TILE_N;
    let tiles_m = (params.m + TILE_M - 1u) / TILE_M;
    let tile = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (tile >= tiles_m * tiles_n) {
        return;
    }
    let first_row = tile / tiles_n * TILE_M;
    let first_column = tile % tiles_n * TILE_N;

    // Hoisted by hand: one driver leaves loads of uniforms and row offsets in the loops.
    let k = params.k;
    let group_steps = params.group_steps;
    var x_row: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        x_row[i] = min(first_row + i, params.m - 1u);
    }
    var w_start: array<u32, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        w_start[j] = min(first_column + j, params.n - 1u) * params.row_words;
    }
    var sums: array<f32, TILE_M * TILE_N>;
    for (var group = 0u; group < params.groups; group++) {
        var partial: array<f32, TILE_M * TILE_N>;
        var scale: array<f32, TILE_N>;
        var zero: array<f32, TILE_N>;
        var minimum: array<f32, TILE_N>;
        for (var j = 0u; j < TILE_N; j++) {
            let index = min(first_column + j, params.n - 1u) * params.scale_row_stride + group;
            scale[j] = load_scale(index);
            zero[j] = f32(load_zero(index));
            minimum[j] = load_minimum(index);
        }
        for (var step = group * group_steps; step < (group + 1u) * group_steps; step++) {
            var x_low: array<vec4<f32>, TILE_M>;
            var x_high: array<vec4<f32>, TILE_M>;
            for (var i = 0u; i < TILE_M; i++) {
                let values = load_x8(x_row[i], step * 8u, k);
                x_low[i] = values.low;
                x_high[i] = values.high;
            }
            for (var j = 0u; j < TILE_N; j++) {
                let weights = load_codes8(w_start[j], step);
                let w_low = lift(weights.low - zero[j], scale[j], minimum[j]);
                let w_high = lift(weights.high - zero[j], scale[j], minimum[j]);
                for (var i = 0u; i < TILE_M; i++) {
                    partial[i * TILE_N + j] += dot(x_low[i], w_low) + dot(x_high[i], w_high);
                }
            }
        }
        for (var i = 0u; i < TILE_M; i++) {
            for (var j = 0u; j < TILE_N; j++) {
                sums[i * TILE_N + j] += scale_sum(partial[i * TILE_N + j], scale[j]);
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        let row = first_row + i;
        if (row < params.m) {
            for (var j = 0u; j < TILE_N; j += 2u) {
                finish_pair(
                    row * params.out_stride,
                    params.first_column + first_column + j,
                    params.first_column + params.n,
                    sums[i * TILE_N + j],
                    sums[i * TILE_N + j + 1u],
                );
            }
        }
    }
}
