// x times a value normalized over groups of channels of one item.

import package::channel_sums::params::params;
import package::element::load_bits;
import package::second::load_b_element;

@group(0) @binding(7) var<storage, read> statistics: array<f32>; // [items * groups, 2] mean, 1 / deviation

fn summand(index: u32, item: u32, channel: u32) -> f32 {
    let row = (item * params.channels + channel) / params.group_channels;
    let away = load_b_element(index) - statistics[2u * row];
    return bitcast<f32>(load_bits(index)) * (away * statistics[2u * row + 1u]);
}
