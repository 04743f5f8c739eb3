// A row is a group of neighbouring channels of one item: x [items, channels, inner].

import package::norm::params::params;

fn element_index(row: u32, column: u32) -> u32 {
    return row * params.columns + column;
}

fn channel_of(row: u32, column: u32) -> u32 {
    return (row % params.groups) * params.group_channels + column / params.inner;
}
