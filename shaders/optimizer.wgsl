// Each lane makes one step of two neighbouring parameters, so that a 16-bit copy of them is one word.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::optimizer::params::{params, control, coefficient, table_row};
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
    let index = 2u * (linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane);
    if (index >= params.count || control[2] != 0u) {
        return;
    }
    let row = table_row();
    let first = step(index, row);
    var second = 0u;
    if (index + 1u < params.count) {
        second = step(index + 1u, row);
    }
    store_bits_pair(index / 2u, params.count, first, second);
}

// Bits of the new parameter, which is stored too.
fn step(index: u32, row: u32) -> u32 {
    if (!is_kept(index)) {
        parameter[index] = 0.0;
        forget(index);
        return 0u;
    }
    let old = parameter[index];
    let scaled = bitcast<f32>(load_bits(index)) * bitcast<f32>(control[0]);
    let limit = bitcast<f32>(control[1]);
    let clipped = select(scaled, select(limit, -limit, scaled < 0.0), abs(scaled) > limit);
    let penalty = coefficient(row, 1u) * sign(old) + coefficient(row, 2u) * old;
    let stepped = update(index, row, coefficient(row, 0u) * old, clipped + penalty);
    parameter[index] = stepped;
    return bitcast<u32>(stepped);
}
