// Half the weights of a row kept, 2:4 or 4:8, their indices shared by all SUBGROUP * TILE_N rows of a
// subgroup's tile: each lane picks the activations they point at from its own row of x in SUBGROUP and
// hands them to the others by shuffles; rows of the weight stay with the lane that loaded them.
//
// Loops run over arrays of their own length, so that drivers unroll them and keep all sums in registers;
// the loop over the halves of a step does not, so that the code fits the instruction cache.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{SUBGROUP, TILE_M, TILE_N, VECTOR};
import package::sparse::params::params;
import package::sparse_nm::indices::{load_indices8, index_at};
import package::pick::pick;
import package::x::load_x8;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + TILE_N * SUBGROUP - 1u) / (TILE_N * SUBGROUP);
    let tile = linear_workgroup(workgroup, workgroups);
    let first_x = tile / tiles_n * TILE_M * SUBGROUP;
    let tile_row = tile % tiles_n * TILE_N * SUBGROUP;
    // The same for all lanes, as every condition around a shuffle must be.
    if (first_x >= params.m) {
        return;
    }
    let first_row = tile_row + lane * TILE_N;

    let k = params.k;
    var x_row: array<u32, TILE_M>;
    for (var i = 0u; i < TILE_M; i++) {
        x_row[i] = min(first_x + i * SUBGROUP + lane, params.m - 1u);
    }
    let index_start = tile_row / VECTOR * params.index_words;
    var value_start: array<u32, TILE_N>;
    var scale_start: array<u32, TILE_N>;
    for (var j = 0u; j < TILE_N; j++) {
        let row = min(first_row + j, params.n - 1u);
        value_start[j] = row * params.row_words;
        scale_start[j] = row * params.scale_stride;
    }
    var sums: array<array<array<f32, TILE_N>, SUBGROUP>, TILE_M>;
    for (var group = 0u; group < params.groups; group++) {
        var scale: array<f32, TILE_N>;
        for (var j = 0u; j < TILE_N; j++) {
            scale[j] = load_scale(scale_start[j] + group);
        }
        for (var step = group * params.group_steps; step < (group + 1u) * params.group_steps; step++) {
            let packed = load_indices8(index_start, step);
            var weights: array<array<vec4<f32>, 2>, TILE_N>;
            for (var j = 0u; j < TILE_N; j++) {
                let stored = load_stored8(value_start[j], step);
                weights[j] = array<vec4<f32>, 2>(scale[j] * stored[0], scale[j] * stored[1]);
            }
            for (var half = 0u; half < 2u; half++) {
                let later = half == 1u;
                let places = vec4<u32>(
                    index_at(packed, 4u * half),
                    index_at(packed, 4u * half + 1u),
                    index_at(packed, 4u * half + 2u),
                    index_at(packed, 4u * half + 3u),
                );
                var columns: array<vec4<f32>, TILE_N>;
                for (var j = 0u; j < TILE_N; j++) {
                    columns[j] = select(weights[j][0], weights[j][1], later);
                }
                var own: array<vec4<f32>, TILE_M>;
                for (var i = 0u; i < TILE_M; i++) {
                    let eight = load_x8(x_row[i], step * 16u + half * 8u, k);
                    own[i] = vec4<f32>(
                        pick(eight.low, eight.high, 0u, places.x),
                        pick(eight.low, eight.high, 1u, places.y),
                        pick(eight.low, eight.high, 2u, places.z),
                        pick(eight.low, eight.high, 3u, places.w),
                    );
                }
                for (var i = 0u; i < TILE_M; i++) {
                    for (var other = 0u; other < SUBGROUP; other++) {
                        let taken = subgroupShuffle(own[i], other);
                        for (var j = 0u; j < TILE_N; j++) {
                            sums[i][other][j] += dot(taken, columns[j]);
                        }
                    }
                }
            }
        }
    }

    for (var i = 0u; i < TILE_M; i++) {
        for (var other = 0u; other < SUBGROUP; other++) {
            let row = first_x + i * SUBGROUP + other;
            if (row < params.m) {
                for (var j = 0u; j < TILE_N; j += 2u) {
                    finish_pair(row * params.out_stride, first_row + j, params.n, sums[i][other][j], sums[i][other][j + 1u]);
                }
            }
        }
    }
}
