// Where a tile of the output lies, and where its operands' rows begin.

import package::matmul_dense::params::params;

struct Tile {
    matrix: u32, // past the batch for lanes past the end of the grid
    first_row: u32,
    first_column: u32,
}

// Tile `index` of the output cut into tiles of `rows` x `columns`, matrix by matrix.
fn tile_at(index: u32, rows: u32, columns: u32) -> Tile {
    let tiles_m = (params.m + rows - 1u) / rows;
    let tiles_n = (params.n + columns - 1u) / columns;
    let tiles = tiles_m * tiles_n;
    return Tile(index / tiles, index % tiles / tiles_n * rows, index % tiles_n * columns);
}

// Element of a at k = 0. Rows past the end repeat the last one, so that loads need no guard.
fn a_row(matrix: u32, row: u32) -> u32 {
    let clamped = min(row, params.m - 1u);
    return params.a_first + matrix * params.a_batch_stride + clamped * params.a_row_stride;
}

// Element of b at k = 0. Columns past the end repeat the last one.
fn b_column(matrix: u32, column: u32) -> u32 {
    let clamped = min(column, params.n - 1u);
    return matrix * params.b_batch_stride + clamped * params.b_column_stride;
}

// Element of the output at column 0.
fn out_row(matrix: u32, row: u32) -> u32 {
    return (matrix * params.m + row) * params.out_stride;
}
