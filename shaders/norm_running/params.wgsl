struct Params {
    count: u32, // elements of this launch
    first: u32, // index of its first element in the whole tensor
    channels: u32,
    inner: u32, // elements of one channel of one item
    epsilon: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> gamma: array<f32>; // [channels]
@group(0) @binding(6) var<storage, read> running: array<f32>; // [channels, 2] mean, variance

// Factor of a channel.
fn channel_scale(channel: u32) -> f32 {
    return inverseSqrt(running[2u * channel + 1u] + params.epsilon) * gamma[channel];
}
