// KEPT of every GROUP weights of a row for few rows of x, without gathers: the lanes of a subgroup hold the
// activations of a run side by side, and each lane takes those its indices point at by shuffles. A lane
// makes STREAMS times SHARED rows of the weight, SHARED of which share their indices, by COLUMNS rows of x.
// A run is what one load of values brings; scales are applied to the sums of a group.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, ROWS, STREAMS, SHARED, KEPT, GROUP, VECTOR, INDEX_BITS, SUBGROUP};
import package::sparse::params::params;
import package::sparse_nm::words::indices;
import package::x1::load_x1;
import package::run::{RUN, load_run};
import package::scale::load_scale;
import package::skip::is_wanted;
import package::lib::epilogue::finish_pair;

// Activations that a run of kept weights chooses from, in windows of at most one a lane.
const RUN_K = RUN / KEPT * GROUP;
const WINDOW = min(8u / KEPT * GROUP, SUBGROUP);
const WINDOWS = RUN_K / WINDOW;
const QUADS = RUN / 4u;
const QUAD_BITS = 4u * INDEX_BITS;
// Words of the indices of a run, some of which may be of the next run.
const WORDS = (RUN * INDEX_BITS + 31u) / 32u;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    // No lane leaves early, because others read its part of x.
    let first_row = (linear_workgroup(workgroup, workgroups) * SUBGROUP + lane) * ROWS;

    let k = params.k;
    let group_runs = (params.group_steps * 8u + RUN - 1u) / RUN;
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
        var partial: array<array<array<f32, SHARED>, STREAMS>, COLUMNS>;
        for (var run = group * group_runs; run < (group + 1u) * group_runs; run++) {
            var own: array<array<f32, WINDOWS>, COLUMNS>;
            var nonzero = false;
            for (var w = 0u; w < WINDOWS; w++) {
                let column = run * RUN_K + w * WINDOW + lane % WINDOW;
                for (var c = 0u; c < COLUMNS; c++) {
                    own[c][w] = select(0.0, load_x1(c * k + min(column, k - 1u)), column < k);
                    nonzero |= own[c][w] != 0.0;
                }
            }
            var packed: array<array<u32, WORDS>, STREAMS>;
            var weights: array<array<array<vec4<f32>, QUADS>, SHARED>, STREAMS>;
            if (is_wanted(nonzero)) {
                for (var s = 0u; s < STREAMS; s++) {
                    let bit = run * (RUN * INDEX_BITS);
                    for (var word = 0u; word < WORDS; word++) {
                        packed[s][word] = indices[index_start[s] + bit / 32u + word] >> (bit % 32u);
                    }
                    for (var r = 0u; r < SHARED; r++) {
                        weights[s][r] = load_run(value_start[s][r], run);
                    }
                }
            }
            for (var quad = 0u; quad < QUADS; quad++) {
                let first = 4u * quad;
                let base = vec4<u32>(first, first + 1u, first + 2u, first + 3u) / KEPT * GROUP;
                for (var s = 0u; s < STREAMS; s++) {
                    let bits = packed[s][quad * QUAD_BITS / 32u] >> (quad * QUAD_BITS % 32u);
                    let places = vec4<u32>(bits, bits >> INDEX_BITS, bits >> (2u * INDEX_BITS), bits >> (3u * INDEX_BITS));
                    let lanes = base % WINDOW + (places & vec4<u32>((1u << INDEX_BITS) - 1u));
                    for (var c = 0u; c < COLUMNS; c++) {
                        let taken = vec4<f32>(
                            subgroupShuffle(own[c][base.x / WINDOW], lanes.x),
                            subgroupShuffle(own[c][base.y / WINDOW], lanes.y),
                            subgroupShuffle(own[c][base.z / WINDOW], lanes.z),
                            subgroupShuffle(own[c][base.w / WINDOW], lanes.w),
                        );
                        for (var r = 0u; r < SHARED; r++) {
                            partial[c][s][r] += dot(taken, weights[s][r][quad]);
                        }
                    }
                }
            }
        }
        for (var s = 0u; s < STREAMS; s++) {
            for (var r = 0u; r < SHARED; r++) {
                let scale = load_scale(scale_start[s][r] + group);
                for (var c = 0u; c < COLUMNS; c++) {
                    sums[c][s][r] += scale * partial[c][s][r];
                }
            }
        }
    }

    for (var c = 0u; c < COLUMNS; c++) {
        for (var s = 0u; s < ROWS; s += 2u) {
            finish_pair(
                c * params.out_stride,
                first_row + s,
                params.n,
                sums[c][s / SHARED][s % SHARED],
                sums[c][(s + 1u) / SHARED][(s + 1u) % SHARED],
            );
        }
    }
}
