struct Params {
    rows: u32, // runs that are normalized together
    columns: u32, // elements of each
    groups: u32, // rows of one item, where rows are groups of channels
    group_channels: u32, // channels of one row
    inner: u32, // elements of one channel of one item
    epsilon: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
