// Counts of one level's digits, of the scores that agree with the cut-off so far. Each workgroup counts
// ROUNDS times WORKGROUP_SIZE scores in its own memory and adds what it found: integers, so that the
// order is free.

import package::lib::grid::linear_workgroup;
import package::variant::{ROUNDS, WORKGROUP_SIZE};
import package::mask::key::score_key;
import package::mask::radix::{CutOff, digit_of, has_prefix};

struct Params {
    count: u32, // scores
    first_index: u32, // index of the first, among all that are compared
    level: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>; // [count] f32 bits
@group(0) @binding(8) var<storage, read_write> state: array<atomic<u32>>; // cut-off, left, free, 256 counts

var<workgroup> shared_counts: array<atomic<u32>, WORKGROUP_SIZE>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let start = linear_workgroup(workgroup, workgroups) * ROUNDS * WORKGROUP_SIZE;
    let cut = CutOff(atomicLoad(&state[0]), atomicLoad(&state[1]));
    atomicStore(&shared_counts[lane], 0u);
    workgroupBarrier();
    for (var round = 0u; round < ROUNDS; round++) {
        let at = start + round * WORKGROUP_SIZE + lane;
        if (at < params.count) {
            let key = score_key(scores[at]);
            let index = params.first_index + at;
            if (has_prefix(params.level, key, index, cut)) {
                atomicAdd(&shared_counts[digit_of(params.level, key, index)], 1u);
            }
        }
    }
    workgroupBarrier();
    let count = atomicLoad(&shared_counts[lane]);
    if (count > 0u) {
        atomicAdd(&state[4u + lane], count);
    }
}
