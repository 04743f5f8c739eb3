// A row is one channel of all items: x [items, channels, inner], channels = rows.

import package::norm::params::params;

fn element_index(row: u32, column: u32) -> u32 {
    let item = column / params.inner;
    return (item * params.rows + row) * params.inner + column % params.inner;
}

fn channel_of(row: u32, column: u32) -> u32 {
    return row;
}
