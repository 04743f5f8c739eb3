// Each lane makes two neighbouring results, so that 16-bit results are written as whole words.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::pool2d::params::{params, window_area};
import package::window::{window_rows, window_columns};
import package::pooling::{begun, folded, finished};
import package::element::load_bits;
import package::pair::store_bits_pair;

fn result_bits(index: u32) -> u32 {
    let line = index / params.out_width;
    let rows = window_rows(line % params.out_height);
    let columns = window_columns(index % params.out_width);
    let first = line / params.out_height * params.height * params.width;
    var total = begun();
    for (var row = rows.x; row < rows.y; row++) {
        for (var column = columns.x; column < columns.y; column++) {
            total = folded(total, load_bits(first + row * params.width + column));
        }
    }
    return finished(total, window_area(rows, columns));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let pair = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let index = 2u * pair;
    if (index >= params.count) {
        return;
    }
    // The half behind an odd count is zero, whatever lies behind the operands.
    var second = 0u;
    if (index + 1u < params.count) {
        second = result_bits(index + 1u);
    }
    store_bits_pair(pair, params.count, result_bits(index), second);
}
