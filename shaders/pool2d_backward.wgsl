// Each lane makes two neighbouring elements of dx: the sum, window by window in order, of its share of the
// gradients of the windows it lies in.

import package::lib::grid::linear_workgroup;
import package::variant::WORKGROUP_SIZE;
import package::pool2d::params::params;
import package::window::{row_windows, column_windows};
import package::share::share;
import package::second::load_b_element;
import package::pair::store_bits_pair;

fn gathered(index: u32) -> f32 {
    let line = index / params.width;
    let place = vec2<u32>(index % params.width, line % params.height);
    let plane = line / params.height;
    let rows = row_windows(place.y);
    let columns = column_windows(place.x);
    var sum = 0.0;
    for (var row = rows.x; row < rows.y; row++) {
        for (var column = columns.x; column < columns.y; column++) {
            let gradient = load_b_element((plane * params.out_height + row) * params.out_width + column);
            sum += share(gradient, plane, vec2<u32>(column, row), place);
        }
    }
    return sum;
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
    var second = 0.0;
    if (index + 1u < params.count) {
        second = gathered(index + 1u);
    }
    store_bits_pair(pair, params.count, bitcast<u32>(gathered(index)), bitcast<u32>(second));
}
