// One workgroup of 256 lanes per segment: the digits of its scores are counted level by level, and the
// digit of the last score kept is picked from the counts. Integers only, so the order is free.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::mask::key::score_key;
import package::mask::radix::{LEVELS, first_cut_off, digit_of, has_prefix, with_digit};
import package::mask::pick::pick_digit;

struct Params {
    segments: u32,
    length: u32, // scores of a segment
    keep: u32, // of each segment
    first_index_level: u32, // levels from 4 to here look at bits that no index has
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>; // [segments, length] f32 bits
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [segments, 2] key, complement of index

var<workgroup> shared_counts: array<atomic<u32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let segment = linear_workgroup(workgroup, workgroups);
    if (segment >= params.segments) {
        return;
    }
    let start = segment * params.length;
    var cut = first_cut_off();
    var left = params.keep;
    for (var level = 0u; level < LEVELS; level = select(level + 1u, params.first_index_level, level == 3u)) {
        atomicStore(&shared_counts[lane], 0u);
        workgroupBarrier();
        for (var index = lane; index < params.length; index += WORKGROUP_SIZE) {
            let key = score_key(scores[start + index]);
            if (has_prefix(level, key, index, cut)) {
                atomicAdd(&shared_counts[digit_of(level, key, index)], 1u);
            }
        }
        workgroupBarrier();
        let pick = pick_digit(atomicLoad(&shared_counts[lane]), left, lane);
        left -= pick.above;
        cut = with_digit(level, cut, pick.digit);
    }
    if (lane == 0u) {
        out[2u * segment] = cut.key;
        out[2u * segment + 1u] = cut.inverse_index;
    }
}
