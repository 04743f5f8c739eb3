// An element normalized.

import package::norm_running::params::{running, channel_scale};

@group(0) @binding(3) var<storage, read> beta: array<f32>; // [channels]

fn through(value: f32, channel: u32) -> f32 {
    return (value - running[2u * channel]) * channel_scale(channel) + beta[channel];
}
