// The same products by the lanes of a subgroup, each of which makes every SUBGROUP-th element: what the
// instructions do, written out, so that what surrounds them runs everywhere.

import package::variant::{TILE_K, ROWS, COLUMNS, SUBGROUP, UNIT};

alias Left = u32;
alias Right = u32;
alias Sums = array<f32, CELLS>;
alias Element = f32;

const CELLS = UNIT * UNIT / SUBGROUP;
const STRIDE = TILE_K + 4u;

var<workgroup> shared_a: array<Element, ROWS * STRIDE>;
var<workgroup> shared_b: array<Element, COLUMNS * STRIDE>;
var<workgroup> shared_out: array<f32, ROWS * COLUMNS>;

fn load_left(at: u32) -> Left {
    return at;
}

fn load_right(at: u32) -> Right {
    return at;
}

fn multiply(left: Left, right: Right, sums: Sums, lane: u32) -> Sums {
    var next = sums;
    for (var cell = 0u; cell < CELLS; cell++) {
        let at = cell * SUBGROUP + lane;
        let row = left + at / UNIT * STRIDE;
        let column = right + at % UNIT * STRIDE;
        for (var k = 0u; k < UNIT; k++) {
            next[cell] += shared_a[row + k] * shared_b[column + k];
        }
    }
    return next;
}

fn keep(sums: Sums, at: u32, lane: u32) {
    var made = sums;
    for (var cell = 0u; cell < CELLS; cell++) {
        let within = cell * SUBGROUP + lane;
        shared_out[at + within / UNIT * COLUMNS + within % UNIT] = made[cell];
    }
}
