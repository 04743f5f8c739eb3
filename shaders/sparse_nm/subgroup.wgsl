// KEPT of every GROUP weights of a row, KEPT a divisor of 8, without gathers: the lanes of a subgroup hold
// the activations of a step side by side, and each lane takes those its indices point at by shuffles. A
// lane makes STREAMS times SHARED rows of the weight, SHARED of which share their indices, by COLUMNS rows
// of x.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, STREAMS, SHARED, KEPT, GROUP, VECTOR, SUBGROUP};
import package::sparse::params::params;
import package::sparse_nm::indices::{load_indices8, index_at};
import package::x1::load_x1;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::skip::is_wanted;
import package::lib::epilogue::finish_pair;

// Activations that eight kept weights choose from, in windows of at most one a lane.
const STEP_K = 8u / KEPT * GROUP;
const WINDOW = min(STEP_K, SUBGROUP);
const WINDOWS = STEP_K / WINDOW;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + ROWS * SUBGROUP - 1u) / (ROWS * SUBGROUP);
    let tile = linear_workgroup(workgroup, workgroups);
    let first_x = tile / tiles_n * COLUMNS;
    let first_row = (tile % tiles_n * SUBGROUP + lane) * ROWS;
    // The same for all lanes, as every condition around a shuffle must be.
    if (first_x >= params.m) {
        return;
    }

    let k = params.k;
    var x_start: array<u32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) {
        x_start[c] = min(first_x + c, params.m - 1u) * k;
    }
    var index_start: array<u32, STREAMS>;
    var value_start: array<array<u32, SHARED>, STREAMS>;
    var scale_start: array<array<u32, SHARED>, STREAMS>;
    for (var s = 0u; s < STREAMS; s++) {
        index_start[s] = min(first_row + s * SHARED, params.n - 1u) / VECTOR * params.index_words;
        for (var r = 0u; r < SHARED; r++) {
            let row = min(first_row + s * SHARED + r, params.n - 1u);
            value_start[s][r] = row * params.row_words;
            scale_start[s][r] = row * params.scale_stride;
        }
    }
    var sums: array<array<array<f32, SHARED>, STREAMS>, COLUMNS>;
    for (var group = 0u; group < params.groups; group++) {
        var scale: array<array<f32, SHARED>, STREAMS>;
        for (var s = 0u; s < STREAMS; s++) {
            for (var r = 0u; r < SHARED; r++) {
                scale[s][r] = load_scale(scale_start[s][r] + group);
            }
        }
        for (var step = group * params.group_steps; step < (group + 1u) * params.group_steps; step++) {
            var own: array<array<f32, WINDOWS>, COLUMNS>;
            var nonzero = false;
            for (var w = 0u; w < WINDOWS; w++) {
                let column = step * STEP_K + w * WINDOW + lane % WINDOW;
                for (var c = 0u; c < COLUMNS; c++) {
                    own[c][w] = select(0.0, load_x1(x_start[c] + min(column, k - 1u)), column < k);
                    nonzero |= own[c][w] != 0.0;
                }
            }
            var packed: array<u32, STREAMS>;
            var weights: array<array<array<vec4<f32>, 2>, SHARED>, STREAMS>;
            if (is_wanted(nonzero)) {
                for (var s = 0u; s < STREAMS; s++) {
                    packed[s] = load_indices8(index_start[s], step);
                    for (var r = 0u; r < SHARED; r++) {
                        let stored = load_stored8(value_start[s][r], step);
                        weights[s][r] = array<vec4<f32>, 2>(scale[s][r] * stored[0], scale[s][r] * stored[1]);
                    }
                }
            }
            for (var s = 0u; s < STREAMS; s++) {
                for (var quad = 0u; quad < 2u; quad++) {
                    let first = 4u * quad;
                    let base = vec4<u32>(first, first + 1u, first + 2u, first + 3u) / KEPT * GROUP;
                    let lanes = base % WINDOW + vec4<u32>(
                        index_at(packed[s], first),
                        index_at(packed[s], first + 1u),
                        index_at(packed[s], first + 2u),
                        index_at(packed[s], first + 3u),
                    );
                    for (var c = 0u; c < COLUMNS; c++) {
                        let taken = vec4<f32>(
                            subgroupShuffle(own[c][base.x / WINDOW], lanes.x),
                            subgroupShuffle(own[c][base.y / WINDOW], lanes.y),
                            subgroupShuffle(own[c][base.z / WINDOW], lanes.z),
                            subgroupShuffle(own[c][base.w / WINDOW], lanes.w),
                        );
                        for (var r = 0u; r < SHARED; r++) {
                            sums[c][s][r] += dot(taken, weights[s][r][quad]);
                        }
                    }
                }
            }
        }
    }

    for (var c = 0u; c < COLUMNS; c++) {
        if (first_x + c < params.m) {
            for (var s = 0u; s < ROWS; s += 2u) {
                finish_pair(
                    (first_x + c) * params.out_stride,
                    first_row + s,
                    params.n,
                    sums[c][s / SHARED][s % SHARED],
                    sums[c][(s + 1u) / SHARED][(s + 1u) % SHARED],
                );
            }
        }
    }
}
