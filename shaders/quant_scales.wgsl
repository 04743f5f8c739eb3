// The scale of each row from its largest magnitude, rounded once from the exact quotient: the significand is
// divided as an integer, so that scales are equal on every driver.

import package::lib::grid::linear_workgroup;
import package::variant::{DROPPED_BITS, WORKGROUP_SIZE};
import package::lanes::{LANE_STEP, row_index, first_element};
import package::quant_scales::params::params;
import package::element::load_bits;
import package::reduce::reduce_max_u32;
import package::scale_sign::sign_bit;

@group(0) @binding(8) var<storage, read_write> scales: array<u32>; // f32 [rows]

// Bits of largest * 2^doubled / divisor, at least the floor, past the ceiling infinity.
fn scale_bits(largest: u32) -> u32 {
    if (largest >= 0x7f800000u) {
        return largest;
    }
    if (largest < 0x00800000u) {
        return params.floor_bits;
    }
    // divisor < 2^shift <= 2 * divisor, so that the quotient has 24 or 25 bits.
    let numerator = ((largest & 0x7fffffu) | 0x800000u) << params.shift;
    let quotient = numerator / params.divisor;
    let rest = numerator - quotient * params.divisor;
    let extra = quotient >> 24u;
    let dropped_bits = DROPPED_BITS + extra;
    let kept = quotient >> dropped_bits;
    // What is dropped, twice, against a unit of what is kept; both times the divisor.
    let twice = 2u * ((quotient - (kept << dropped_bits)) * params.divisor + rest);
    let unit = params.divisor << dropped_bits;
    let up = twice > unit || (twice == unit && (kept & 1u) == 1u);
    let significand = kept + select(0u, 1u, up) - (0x800000u >> DROPPED_BITS);
    let exponent = i32((largest >> 23u) + extra + params.doubled) - i32(params.shift);
    if (exponent < 1) {
        return params.floor_bits;
    }
    // A significand that was rounded up to the next power of two carries into the exponent.
    let bits = max((u32(exponent) << 23u) + (significand << DROPPED_BITS), params.floor_bits);
    return select(bits, 0x7f800000u, bits > params.ceiling_bits);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = row_index(linear_workgroup(workgroup, workgroups), lane);
    if (row >= params.rows) {
        return;
    }
    let start = row * params.columns;
    let first = first_element(lane);
    var largest = 0u;
    for (var column = first; column < params.columns; column += LANE_STEP) {
        largest = max(largest, load_bits(start + column) & 0x7fffffffu);
    }
    largest = reduce_max_u32(largest, lane);
    let sign = sign_bit(start, largest, lane);
    if (first == 0u) {
        scales[row] = scale_bits(largest) | sign;
    }
}
