// Register tiles: each lane makes TILE_C channels of dy by TILE_K weights of each, over a run of images and
// rows of dy, position by position, and shares nothing.

import package::lib::grid::linear_workgroup;
import package::variant::{TILE_C, TILE_K, WORKGROUP_SIZE};
import package::conv2d_weight::params::params;
import package::a::load_a;
import package::b::load_b;

@group(0) @binding(8) var<storage, read_write> out: array<f32>; // [chunks, out channels, weights of a channel]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let tile = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let weights = params.group_in * params.taps;
    let weight_tiles = (weights + TILE_K - 1u) / TILE_K;
    let channel_tiles = (params.group_out + TILE_C - 1u) / TILE_C;
    let first_weight = tile % weight_tiles * TILE_K;
    let run = tile / weight_tiles;
    let first_channel = run % channel_tiles * TILE_C;
    let chunk_group = run / channel_tiles;
    if (chunk_group >= params.chunk_groups) {
        return;
    }
    let group = chunk_group % params.groups;
    let chunk = chunk_group / params.groups;
    let first_image = chunk / params.row_chunks * params.image_chunk;
    let last_image = min(first_image + params.image_chunk, params.batch);
    let first_row = chunk % params.row_chunks * params.row_chunk;
    let last_row = min(first_row + params.row_chunk, params.out_height);

    // Weights and channels past the end repeat the last one, so that loads need no guard.
    var planes: array<u32, TILE_K>;
    var tops: array<u32, TILE_K>;
    var lefts: array<u32, TILE_K>;
    for (var k = 0u; k < TILE_K; k++) {
        let weight = min(first_weight + k, weights - 1u);
        let tap = weight % params.taps;
        planes[k] = group * params.group_in + weight / params.taps;
        tops[k] = tap / params.kernel_width * params.dilation_y - params.padding_y;
        lefts[k] = tap % params.kernel_width * params.dilation_x - params.padding_x;
    }
    var channels: array<u32, TILE_C>;
    for (var c = 0u; c < TILE_C; c++) {
        channels[c] = group * params.group_out + min(first_channel + c, params.group_out - 1u);
    }

    var sums: array<f32, TILE_C * TILE_K>;
    for (var image = first_image; image < last_image; image++) {
        let first_plane = image * params.groups * params.group_in;
        let first_result = image * params.groups * params.group_out;
        for (var row = first_row; row < last_row; row++) {
            var rows_at: array<u32, TILE_K>;
            var widths: array<u32, TILE_K>;
            for (var k = 0u; k < TILE_K; k++) {
                let y = row * params.stride_y + tops[k];
                // A row outside x has no columns.
                widths[k] = select(0u, params.width, y < params.height);
                let in_plane = select(0u, y, y < params.height);
                rows_at[k] = ((first_plane + planes[k]) * params.height + in_plane) * params.width;
            }
            var results_at: array<u32, TILE_C>;
            for (var c = 0u; c < TILE_C; c++) {
                results_at[c] = ((first_result + channels[c]) * params.out_height + row) * params.out_width;
            }
            for (var column = 0u; column < params.out_width; column++) {
                var values: array<f32, TILE_K>;
                for (var k = 0u; k < TILE_K; k++) {
                    let x = column * params.stride_x + lefts[k];
                    let inside = x < widths[k];
                    values[k] = select(0.0, load_a(rows_at[k] + select(0u, x, inside)), inside);
                }
                for (var c = 0u; c < TILE_C; c++) {
                    let gradient = load_b(results_at[c] + column);
                    for (var k = 0u; k < TILE_K; k++) {
                        sums[c * TILE_K + k] += gradient * values[k];
                    }
                }
            }
        }
    }

    for (var c = 0u; c < TILE_C; c++) {
        let in_group = first_channel + c;
        if (in_group < params.group_out) {
            let start = (chunk * params.groups * params.group_out + group * params.group_out + in_group) * weights;
            for (var k = 0u; k < TILE_K; k++) {
                if (first_weight + k < weights) {
                    out[start + first_weight + k] = sums[c * TILE_K + k];
                }
            }
        }
    }
}
