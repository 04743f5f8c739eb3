// Single weights, a subgroup to two rows of the weight, one after the other: its lanes take eight entries
// each, find their columns by a sum over the lanes before them, and add up what they made.

@if(web) enable subgroups;
import package::lib::grid::linear_workgroup;
import package::variant::{COLUMNS, SUBGROUP};
import package::sparse::params::params;
import package::sparse_delta::starts::row_starts;
import package::deltas::load_deltas8;
import package::x1::load_x1;
import package::stored::load_stored8;
import package::scale::load_scale;
import package::lib::epilogue::finish_pair;

@compute @workgroup_size(SUBGROUP)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(subgroup_invocation_id) lane: u32,
) {
    let tiles_n = (params.n + 1u) / 2u;
    let tile = linear_workgroup(workgroup, workgroups);
    let first_x = tile / tiles_n * COLUMNS;
    let first_row = tile % tiles_n * 2u;
    // The same for all lanes, as every condition around a sum over lanes must be.
    if (first_x >= params.m) {
        return;
    }

    var x_start: array<u32, COLUMNS>;
    for (var c = 0u; c < COLUMNS; c++) {
        x_start[c] = min(first_x + c, params.m - 1u) * params.k;
    }
    var sums: array<array<f32, COLUMNS>, 2>;
    for (var r = 0u; r < 2u; r++) {
        let row = min(first_row + r, params.n - 1u);
        let end = row_starts[row + 1u] / 8u;
        var reached = 0u;
        for (var first = row_starts[row] / 8u; first < end; first += SUBGROUP) {
            // Lanes past the end stay at a column that exists and add nothing.
            let step = min(first + lane, end - 1u);
            let inside = first + lane < end;
            var distance = load_deltas8(step);
            var total = 0u;
            for (var t = 0u; t < 8u; t++) {
                distance[t] = select(0u, distance[t], inside);
                total += distance[t];
            }
            var column = reached + subgroupExclusiveAdd(total);
            reached += subgroupAdd(total);
            let scale = load_scale((8u * step) >> params.group_shift);
            let stored = load_stored8(0u, step);
            var weights = array<vec4<f32>, 2>(scale * stored[0], scale * stored[1]);
            for (var t = 0u; t < 8u; t++) {
                column += distance[t];
                let weight = weights[t / 4u][t % 4u];
                for (var c = 0u; c < COLUMNS; c++) {
                    // Whatever the weight of a lane past the end meets must not reach the sum.
                    sums[r][c] += select(0.0, load_x1(x_start[c] + column) * weight, inside);
                }
            }
        }
    }

    for (var c = 0u; c < COLUMNS; c++) {
        let first = subgroupAdd(sums[0][c]);
        let second = subgroupAdd(sums[1][c]);
        if (lane == 0u && first_x + c < params.m) {
            finish_pair((first_x + c) * params.out_stride, first_row, params.n, first, second);
        }
    }
}
