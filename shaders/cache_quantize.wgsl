// Rows of heads quantized to int8 and put into a cache at the positions of their tokens: a lane a row.

import package::lib::grid::linear_workgroup;
import package::variant::{WORKGROUP_SIZE, QUADS};
import package::a::load_a4;
import package::quantize_rows::code::{largest_of, magnitude_bits, quantize4, scale_of};

struct Params {
    batch: u32,
    heads: u32,
    tokens: u32,
    capacity: u32, // rows of a head of the cache
    x_offset: u32,
    x_batch: u32,
    x_head: u32,
    x_token: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> starts: array<u32>; // [batch] position of the first token
@group(0) @binding(8) var<storage, read_write> cache_codes: array<u32>; // [batch, heads, capacity, dim / 4]
@group(0) @binding(9) var<storage, read_write> cache_scales: array<f32>; // [batch, heads, capacity]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let token = at % params.tokens;
    let head = at / params.tokens % params.heads;
    let sequence = at / params.tokens / params.heads;
    if (sequence >= params.batch) {
        return;
    }
    // Kept below the limit before the sum, which cannot wrap then.
    let position = min(starts[sequence], params.capacity) + token;
    if (position >= params.capacity) {
        return;
    }
    let start = params.x_offset + sequence * params.x_batch + head * params.x_head + token * params.x_token;
    var x: array<vec4<f32>, QUADS>;
    var most = vec4<u32>();
    for (var quad = 0u; quad < QUADS; quad++) {
        x[quad] = load_a4(start + 4u * quad);
        most = max(most, magnitude_bits(x[quad]));
    }
    let scales = scale_of(bitcast<f32>(largest_of(most)));
    let row = (sequence * params.heads + head) * params.capacity + position;
    cache_scales[row] = scales.x;
    for (var quad = 0u; quad < QUADS; quad++) {
        cache_codes[row * QUADS + quad] = pack4xI8(quantize4(x[quad], scales.y));
    }
}
