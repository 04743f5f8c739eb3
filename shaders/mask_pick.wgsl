// One workgroup of 256 lanes: the digit of the last score kept becomes known from the counts of one
// level, which are then cleared for the next.

import package::variant::WORKGROUP_SIZE;
import package::mask::radix::{CutOff, first_cut_off, with_digit};
import package::mask::pick::pick_digit;

struct Params {
    keep: u32,
    level: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(8) var<storage, read_write> state: array<u32>; // cut-off, left, free, 256 counts

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var cut = CutOff(state[0], state[1]);
    var left = state[2];
    if (params.level == 0u) {
        cut = first_cut_off();
        left = params.keep;
    }
    let count = state[4u + lane];
    storageBarrier();
    let pick = pick_digit(count, left, lane);
    state[4u + lane] = 0u;
    if (lane == 0u) {
        let known = with_digit(params.level, cut, pick.digit);
        state[0] = known.key;
        state[1] = known.inverse_index;
        state[2] = left - pick.above;
    }
}
