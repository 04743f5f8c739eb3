// Rows of a quantized table by index; an index past the table gives zeros. Each lane makes eight neighbours.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::codes::load_codes8;
import package::scale::load_scale;
import package::zero::load_zero;
import package::minimum::load_minimum;
import package::minimum::weigh;
import package::store::store_pair;

struct Params {
    tokens: u32,
    width: u32,
    vocabulary: u32,
    steps: u32, // of one row: ceil(width / 8)
    row_words: u32,
    group_steps: u32,
    scale_row_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<u32>; // [tokens]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let token = at / params.steps;
    if (token >= params.tokens) {
        return;
    }
    let step = at % params.steps;
    let row = indices[token];
    var low = vec4<f32>();
    var high = vec4<f32>();
    if (row < params.vocabulary) {
        let index = row * params.scale_row_stride + step / params.group_steps;
        let scale = load_scale(index);
        let zero = f32(load_zero(index));
        let weights = load_codes8(row * params.row_words, step);
        let minimum = load_minimum(index);
        low = weigh(weights.low - zero, scale, minimum);
        high = weigh(weights.high - zero, scale, minimum);
    }
    let start = token * params.width;
    let column = 8u * step;
    store_pair(start, column, params.width, low.x, low.y);
    store_pair(start, column + 2u, params.width, low.z, low.w);
    store_pair(start, column + 4u, params.width, high.x, high.y);
    store_pair(start, column + 6u, params.width, high.z, high.w);
}
