// One workgroup: what the next optimizer step does with its gradients, from the statistics of all of
// them, and what becomes of the loss scale.

import package::variant::WORKGROUP_SIZE;
import package::reduce::{reduce_sum, reduce_sum_i32, reduce_max_u32};

struct Params {
    chunks: u32,
    scaling: u32, // 1 when the loss scale is dynamic
    skip: u32, // 1 when a gradient that is not finite skips the step although the scale is fixed
    interval: u32, // good steps until the scale grows
    growth: f32,
    backoff: f32,
    largest_scale: f32, // that may still grow
    max_norm: f32,
    max_value: f32,
    accumulated: f32, // micro-batches whose gradients were added
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> statistics: array<u32>; // [chunks, 4] sum of squares, largest, not finite, 0
@group(0) @binding(2) var<storage, read_write> state: array<u32>; // scale, good, skipped, taken, norm, largest, not finite, clip
@group(0) @binding(8) var<storage, read_write> control: array<u32>; // factor, limit, skip, steps skipped

const INFINITY_BITS = 0x7f800000u;
const SMALLEST_SCALE = 1.1754943508222875e-38;

// 1 / x, exact for powers of two whose inverse is normal: a division may be off by 2.5 units.
fn inverse_of(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let exact = (bits & 0x7fffffu) == 0u && bits <= 0x7e800000u;
    return select(1.0 / x, bitcast<f32>(0x7f000000u - min(bits, 0x7e800000u)), exact);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var lane_sum = 0.0;
    var lane_largest = 0u;
    var lane_not_finite = 0;
    for (var chunk = lane; chunk < params.chunks; chunk += WORKGROUP_SIZE) {
        lane_sum += bitcast<f32>(statistics[4u * chunk]);
        lane_largest = max(lane_largest, statistics[4u * chunk + 1u]);
        lane_not_finite += i32(statistics[4u * chunk + 2u]);
    }
    let sum = reduce_sum(lane_sum, lane);
    let largest = reduce_max_u32(lane_largest, lane);
    let not_finite = u32(reduce_sum_i32(lane_not_finite, lane));
    if (lane != 0u) {
        return;
    }

    let scale = bitcast<f32>(state[0]);
    let inverse = inverse_of(scale * params.accumulated);
    let norm = sqrt(sum) * inverse;
    // As clip_grad_norm_ of PyTorch.
    let reached = norm + 1e-6;
    var clip = 1.0;
    if (reached > params.max_norm) {
        clip = params.max_norm / reached;
    }
    let bad = not_finite > 0u || bitcast<u32>(sum) >= INFINITY_BITS;
    let skipped = bad && (params.scaling | params.skip) != 0u;

    var next = scale;
    var good = state[1];
    if (params.scaling != 0u) {
        good = select(good + 1u, 0u, bad);
        if (bad) {
            next = max(scale * params.backoff, SMALLEST_SCALE);
        } else if (good == params.interval) {
            good = 0u;
            if (scale <= params.largest_scale) {
                next = scale * params.growth;
            }
        }
    }
    state[0] = bitcast<u32>(next);
    state[1] = good;
    state[2] += select(0u, 1u, skipped);
    state[3] += select(1u, 0u, skipped);
    state[4] = bitcast<u32>(norm);
    state[5] = bitcast<u32>(bitcast<f32>(largest) * inverse);
    state[6] = not_finite;
    state[7] = bitcast<u32>(clip);
    control[0] = bitcast<u32>(inverse * clip);
    control[1] = bitcast<u32>(params.max_value);
    control[2] = select(0u, 1u, skipped);
    control[3] = state[2];
}
