// The largest elements of rows and where they are, the largest first: a workgroup a row. Each lane keeps the
// best of the elements it takes; only the lane whose element was chosen looks for its next.

import package::lib::grid::linear_workgroup;
import package::lib::order::order_key;
import package::variant::WORKGROUP_SIZE;
import package::element::load_bits;

struct Params {
    rows: u32,
    columns: u32,
    count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(7) var<storage, read_write> chosen_values: array<u32>; // [rows, count] f32 bits
@group(0) @binding(8) var<storage, read_write> chosen: array<u32>; // [rows, count] indices

var<workgroup> shared_keys: array<u32, WORKGROUP_SIZE>;
var<workgroup> shared_columns: array<u32, WORKGROUP_SIZE>;

// Whether an element comes before another: larger, or equal and further left.
fn precedes(key: u32, column: u32, other_key: u32, other_column: u32) -> bool {
    return key > other_key || (key == other_key && column < other_column);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = linear_workgroup(workgroup, workgroups);
    if (row >= params.rows) {
        return;
    }
    let start = row * params.columns;
    var last_key = 0xffffffffu;
    var last_column = 0u;
    var best_key = 0u;
    var best_column = params.columns;
    for (var turn = 0u; turn < params.count; turn++) {
        // At first every lane looks; then the one whose element was taken.
        if (turn == 0u || (best_key == last_key && best_column == last_column)) {
            best_key = 0u;
            best_column = params.columns;
            for (var column = lane; column < params.columns; column += WORKGROUP_SIZE) {
                let key = order_key(load_bits(start + column));
                let is_left = turn == 0u || precedes(last_key, last_column, key, column);
                if (is_left && precedes(key, column, best_key, best_column)) {
                    best_key = key;
                    best_column = column;
                }
            }
        }
        shared_keys[lane] = best_key;
        shared_columns[lane] = best_column;
        workgroupBarrier();
        for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
            if (lane < width) {
                let key = shared_keys[lane + width];
                let column = shared_columns[lane + width];
                if (precedes(key, column, shared_keys[lane], shared_columns[lane])) {
                    shared_keys[lane] = key;
                    shared_columns[lane] = column;
                }
            }
            workgroupBarrier();
        }
        last_key = shared_keys[0];
        last_column = shared_columns[0];
        workgroupBarrier();
        if (lane == 0u) {
            chosen[row * params.count + turn] = last_column;
            chosen_values[row * params.count + turn] = load_bits(start + last_column);
        }
    }
}
