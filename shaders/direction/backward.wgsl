// A gradient on its way back.

import package::norm_running::params::channel_scale;

fn through(value: f32, channel: u32) -> f32 {
    return value * channel_scale(channel);
}
