// Each lane sums the scores of one unit, row by row and in a row from left to right: the order is part
// of the result. Subnormals count as 0 before and after each addition, by bits, whatever the driver does.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;

struct Params {
    n: u32,
    k: u32,
    unit_rows: u32,
    unit_columns: u32,
    row_units: u32, // units of a row of units
    units: u32, // in all
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>; // [n, k] f32 bits
@group(0) @binding(8) var<storage, read_write> out: array<u32>; // [units / row_units, row_units] f32 bits

const NAN_BITS = 0x7fc00000u;

fn is_nan_bits(bits: u32) -> bool {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

fn canonical(bits: u32) -> u32 {
    let flushed = select(bits, 0u, (bits & 0x7fffffffu) < 0x00800000u);
    return select(flushed, NAN_BITS, is_nan_bits(bits));
}

// The sum of a canonical total and any score.
fn add_scores(total: u32, score: u32) -> u32 {
    let sum = canonical(bitcast<u32>(bitcast<f32>(total) + bitcast<f32>(canonical(score))));
    return select(sum, NAN_BITS, is_nan_bits(total) || is_nan_bits(score));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let unit = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    if (unit >= params.units) {
        return;
    }
    let first_row = unit / params.row_units * params.unit_rows;
    let first_column = unit % params.row_units * params.unit_columns;
    let rows = min(params.unit_rows, params.n - first_row);
    let columns = min(params.unit_columns, params.k - first_column);
    var total = 0u;
    for (var row = 0u; row < rows; row++) {
        let start = (first_row + row) * params.k + first_column;
        for (var column = 0u; column < columns; column++) {
            total = add_scores(total, scores[start + column]);
        }
    }
    out[unit] = total;
}
