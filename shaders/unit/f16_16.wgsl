// Products of 16 x 16 matrices of f16 as one instruction of a subgroup, sums in f32.

enable wgpu_cooperative_matrix;
enable f16;

import package::variant::{TILE_K, ROWS, COLUMNS};

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;
alias Element = f16;

// Rows start at multiples of 16 bytes, in different banks.
const STRIDE = TILE_K + 8u;

var<workgroup> shared_a: array<Element, ROWS * STRIDE>;
var<workgroup> shared_b: array<Element, COLUMNS * STRIDE>;
var<workgroup> shared_out: array<f32, ROWS * COLUMNS>;

// The matrix whose rows lie along k from element `at` of shared_a.
fn load_left(at: u32) -> Left {
    return coopLoadT<Left>(&shared_a[at], STRIDE);
}

// The matrix whose columns lie along k from element `at` of shared_b.
fn load_right(at: u32) -> Right {
    return coopLoad<Right>(&shared_b[at], STRIDE);
}

fn multiply(left: Left, right: Right, sums: Sums, lane: u32) -> Sums {
    return coopMultiplyAdd(left, right, sums);
}

fn keep(sums: Sums, at: u32, lane: u32) {
    coopStoreT(sums, &shared_out[at], COLUMNS);
}
