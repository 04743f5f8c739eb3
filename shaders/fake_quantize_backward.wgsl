// Gradients through fake quantization: that of y where clamping changed nothing, and what a learned scale
// gets from each run of elements.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::lanes::{LANE_STEP, row_index, first_element};
import package::fake_quantize::params::params;
import package::element::load_bits;
import package::second::load_b_element;
import package::lib::steps::{steps_of, usable_scale};
import package::zero::load_zero;
import package::scale_slope::store_slope;
import package::store::store_pair;

@group(0) @binding(3) var<storage, read> scales: array<u32>; // f32 [rows] or [1]

struct Passed {
    dx: f32,
    slope: f32, // dy times d y / d scale
}

fn passed(index: u32, scale: u32, zero: i32) -> Passed {
    let steps = steps_of(load_bits(index), scale);
    let dy = load_b_element(index);
    let code = steps.nearest + zero;
    let clamped = clamp(code, params.min_code, params.max_code);
    if (code == clamped) {
        return Passed(dy, dy * steps.missing);
    }
    return Passed(0.0, dy * f32(clamped - zero));
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
    let scale = usable_scale(scales[row * params.scale_stride]);
    let zero = load_zero(row * params.scale_stride);
    var sum = 0.0;
    for (var column = 2u * first; column < params.columns; column += 2u * LANE_STEP) {
        let second = min(column + 1u, params.columns - 1u);
        let left = passed(start + column, scale, zero);
        let right = passed(start + second, scale, zero);
        sum += left.slope + select(0.0, right.slope, second > column);
        store_pair(start, column, params.columns, left.dx, right.dx);
    }
    store_slope(row, lane, sum);
}
