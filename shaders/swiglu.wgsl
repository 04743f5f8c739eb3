// Gated rows: silu of one operand times the other. Each lane makes two neighbours.

import package::lib::grid::linear_workgroup;
import package::lib::logistic::logistic;
import package::variant::WORKGROUP_SIZE;
import package::element::load_bits;
import package::second::load_b_element;
import package::store::store_pair;

struct Params {
    rows: u32,
    columns: u32,
    pairs: u32, // of one row: ceil(columns / 2)
    gate_offset: u32,
    gate_stride: u32,
    value_offset: u32,
    value_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

fn gated(row: u32, column: u32) -> f32 {
    let gate = bitcast<f32>(load_bits(params.gate_offset + row * params.gate_stride + column));
    let value = load_b_element(params.value_offset + row * params.value_stride + column);
    return gate * logistic(gate) * value;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let row = at / params.pairs;
    if (row >= params.rows) {
        return;
    }
    let column = 2u * (at % params.pairs);
    let second = min(column + 1u, params.columns - 1u);
    store_pair(row * params.columns, column, params.columns, gated(row, column), gated(row, second));
}
