// Register tiles: each lane makes TILE_C channels at TILE_P neighbouring positions of one image, loads each
// weight for all its positions and each element of x for all its channels, and shares nothing.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE_C, TILE_P, WORKGROUP_SIZE};
import package::conv2d::params::params;
import package::reach::reached;
import package::a::load_a;
import package::b::load_b;
import package::bias::load_bias;
import package::activation::activate;
import package::store::store_pair;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let position_tiles = (params.positions + TILE_P - 1u) / TILE_P;
    let channel_tiles = (params.group_out + TILE_C - 1u) / TILE_C;
    let first_position = tile % position_tiles * TILE_P;
    let run = tile / position_tiles;
    let first_channel = run % channel_tiles * TILE_C;
    let image_group = run / channel_tiles;
    if (image_group >= params.image_groups) {
        return;
    }
    let group = image_group % params.groups;
    let plane = params.height * params.width;
    let first_plane = image_group * params.group_in * plane;

    // Positions and channels past the end repeat the last one, so that loads need no guard.
    var tops: array<u32, TILE_P>;
    var lefts: array<u32, TILE_P>;
    for (var p = 0u; p < TILE_P; p++) {
        let position = min(first_position + p, params.positions - 1u);
        tops[p] = position / params.out_width * params.scale_y + params.offset_y;
        lefts[p] = position % params.out_width * params.scale_x + params.offset_x;
    }
    var weights_at: array<u32, TILE_C>;
    for (var c = 0u; c < TILE_C; c++) {
        let channel = min(first_channel + c, params.group_out - 1u);
        weights_at[c] = group * params.weight_group + channel * params.weight_out;
    }

    var sums: array<f32, TILE_C * TILE_P>;
    for (var r = 0u; r < params.kernel_height; r++) {
        for (var s = 0u; s < params.kernel_width; s++) {
            var at: array<u32, TILE_P>;
            var inside: array<bool, TILE_P>;
            for (var p = 0u; p < TILE_P; p++) {
                let y = reached(tops[p] + r * params.step_y, params.divide_y);
                let x = reached(lefts[p] + s * params.step_x, params.divide_x);
                inside[p] = y < params.height && x < params.width;
                at[p] = first_plane + select(0u, y * params.width + x, inside[p]);
            }
            let tap = r * params.kernel_width + s;
            for (var i = 0u; i < params.group_in; i++) {
                var values: array<f32, TILE_P>;
                for (var p = 0u; p < TILE_P; p++) {
                    values[p] = select(0.0, load_a(at[p] + i * plane), inside[p]);
                }
                for (var c = 0u; c < TILE_C; c++) {
                    let weight = load_b(weights_at[c] + i * params.weight_in + tap);
                    for (var p = 0u; p < TILE_P; p++) {
                        sums[c * TILE_P + p] += weight * values[p];
                    }
                }
            }
        }
    }

    for (var c = 0u; c < TILE_C; c++) {
        let in_group = first_channel + c;
        if (in_group < params.group_out) {
            let channel = group * params.group_out + in_group;
            let start = (image_group * params.group_out + in_group) * params.positions;
            let addend = load_bias(channel);
            for (var p = 0u; p < TILE_P; p += 2u) {
                store_pair(
                    start,
                    first_position + p,
                    params.positions,
                    activate(sums[c * TILE_P + p] + addend),
                    activate(sums[c * TILE_P + p + 1u] + addend),
                );
            }
        }
    }
}
