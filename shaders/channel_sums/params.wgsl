struct Params {
    sums: u32, // chunks * channels
    items: u32,
    channels: u32,
    inner: u32, // elements of one channel of one item
    chunk: u32, // items of one sum
    group_channels: u32, // channels that share statistics
}

@group(0) @binding(0) var<uniform> params: Params;
