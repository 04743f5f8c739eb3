// Shared-memory tiles: a workgroup of LANES_M x LANES_N lanes stages TILE_K columns of x and of the
// dequantized weight, then each lane makes TILE_M x TILE_N outputs from them.

import package::lib::grid::linear_workgroup;
import package::variant::{LANES_M, LANES_N, TILE_M, TILE_N, TILE_K, WORKGROUP_SIZE};
import package::matmul_quant::params::params;
import package::x::load_x8;
import package::codes::load_codes8;
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::{load_minimum, weigh};
import package::lib::epilogue::finish_pair;

const ROWS = LANES_M * TILE_M;
const COLUMNS = LANES_N * TILE_N;
const STEPS = TILE_K / 8u;
// One vec4 of padding a row keeps neighbouring rows in different banks.
const STRIDE = 2u * STEPS + 1u;

var<workgroup> shared_x: array<vec4<f32>, ROWS * STRIDE>;
var<workgroup> shared_w: array<vec4<f32>, COLUMNS * STRIDE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tiles_n = (params.n + COLUMNS - 1u) / COLUMNS;
    let tile = linear_workgroup(workgroup, workgroups);
    let first_row = tile / tiles_n * ROWS;
    let first_column = tile % tiles_n * COLUMNS;
    if (first_row >= params.m) {
        return;
    }
    let lane_row = lane / LANES_N * TILE_M;
    let lane_column = lane % LANES_N * TILE_N;

    let steps = (params.k + 7u) / 8u;
    var sums: array<f32, TILE_M * TILE_N>;
    for (var first_step = 0u; first_step < steps; first_step += STEPS) {
        for (var at = lane; at < ROWS * STEPS; at += WORKGROUP_SIZE) {
            let row = at / STEPS;
            let step = first_step + at % STEPS;
            let slot = row * STRIDE + 2u * (at % STEPS);
            if (step < steps) {
                let values = load_x8(min(first_row + row, params.m - 1u), step * 8u, params.k);
                shared_x[slot] = values.low;
                shared_x[slot + 1u] = values.high;
            } else {
                shared_x[slot] = vec4<f32>();
                shared_x[slot + 1u] = vec4<f32>();
            }
        }
        for (var at = lane; at < COLUMNS * STEPS; at += WORKGROUP_SIZE) {
            let column = min(first_column + at / STEPS, params.n - 1u);
            let step = first_step + at % STEPS;
            let slot = at / STEPS * STRIDE + 2u * (at % STEPS);
            if (step < steps) {
                let index = column * params.scale_row_stride + step / params.group_steps;
                let scale = load_scale(index);
                let zero = f32(load_zero(index));
                let minimum = load_minimum(index);
                let weights = load_codes8(column * params.row_words, step);
                shared_w[slot] = weigh(weights.low - zero, scale, minimum);
                shared_w[slot + 1u] = weigh(weights.high - zero, scale, minimum);
            } else {
                shared_w[slot] = vec4<f32>();
                shared_w[slot + 1u] = vec4<f32>();
            }
        }
        workgroupBarrier();
        for (var half_step = 0u; half_step < 2u * STEPS; half_step++) {
            for (var j = 0u; j < TILE_N; j++) {
                let weights = shared_w[(lane_column + j) * STRIDE + half_step];
                for (var i = 0u; i < TILE_M; i++) {
                    sums[i * TILE_N + j] += dot(shared_x[(lane_row + i) * STRIDE + half_step], weights);
                }
            }
        }
        workgroupBarrier(); // before the next tile overwrites this one
    }

    for (var i = 0u; i < TILE_M; i++) {
        let row = first_row + lane_row + i;
        if (row < params.m) {
            for (var j = 0u; j < TILE_N; j += 2u) {
                finish_pair(
                    row * params.out_stride,
                    params.first_column + first_column + lane_column + j,
                    params.first_column + params.n,
                    sums[i * TILE_N + j],
                    sums[i * TILE_N + j + 1u],
                );
            }
        }
    }
}
