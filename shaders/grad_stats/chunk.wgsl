// One chunk of elements: what is not finite is counted and left out of everything else, by bits, so
// that no float arithmetic sees it.

import package::variant::CHUNK;
import package::grad_stats::params::{params, statistics};
import package::element::load_bits;
import package::reduce::{reduce_sum, reduce_sum_i32, reduce_max_u32};

// Each lane takes every `lanes`-th element of the chunk; then the lanes are combined.
fn measure(chunk: u32, lane: u32, lanes: u32) {
    let end = min((chunk + 1u) * CHUNK, params.count);
    var sum = 0.0;
    var largest = 0u;
    var not_finite = 0;
    for (var index = chunk * CHUNK + lane; index < end; index += lanes) {
        let magnitude = load_bits(index) & 0x7fffffffu;
        let finite = magnitude < 0x7f800000u;
        let kept = select(0u, magnitude, finite);
        let value = bitcast<f32>(kept);
        sum += value * value;
        largest = max(largest, kept);
        not_finite += select(1, 0, finite);
    }
    let chunk_sum = reduce_sum(sum, lane);
    let chunk_largest = reduce_max_u32(largest, lane);
    let chunk_not_finite = reduce_sum_i32(not_finite, lane);
    if (lane == 0u) {
        let at = 4u * (params.first + chunk);
        statistics[at] = bitcast<u32>(chunk_sum);
        statistics[at + 1u] = chunk_largest;
        statistics[at + 2u] = u32(chunk_not_finite);
        statistics[at + 3u] = 0u;
    }
}
