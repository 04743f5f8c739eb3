// Each lane makes one step of PAIRS pairs of neighbouring parameters, so that a 16-bit copy of a pair is
// one word.

import package::lib::grid::linear_workgroup;
import package::variant::{PAIRS, WORKGROUP_SIZE};
import package::optimizer::params::{params, control, coefficient, load_row};
import package::element::load_bits;
import package::kept::is_kept;
import package::memory::forget;
import package::rule::update;
import package::pair::store_bits_pair;

@group(0) @binding(2) var<storage, read_write> parameter: array<f32>; // [count]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let start = linear_workgroup(workgroup, workgroups) * PAIRS * WORKGROUP_SIZE + lane;
    if (2u * start >= params.count || control[2] != 0u) {
        return;
    }
    load_row();
    let factor = bitcast<f32>(control[0]);
    let limit = bitcast<f32>(control[1]);
    for (var turn = 0u; turn < PAIRS; turn++) {
        let index = 2u * (start + turn * WORKGROUP_SIZE);
        if (index < params.count) {
            let first = step(index, factor, limit);
            var second = 0u;
            if (index + 1u < params.count) {
                second = step(index + 1u, factor, limit);
            }
            store_bits_pair(index / 2u, params.count, first, second);
        }
    }
}

// Bits of the new parameter, which is stored too.
fn step(index: u32, factor: f32, limit: f32) -> u32 {
    if (!is_kept(index)) {
        parameter[index] = 0.0;
        forget(index);
        return 0u;
    }
    let old = parameter[index];
    let scaled = bitcast<f32>(load_bits(index)) * factor;
    let clipped = select(scaled, select(limit, -limit, scaled < 0.0), abs(scaled) > limit);
    let penalty = coefficient(1u) * sign(old) + coefficient(2u) * old;
    let stepped = update(index, coefficient(0u) * old, clipped + penalty);
    parameter[index] = stepped;
    return bitcast<u32>(stepped);
}
