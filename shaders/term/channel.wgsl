// x times a value normalized over one channel of all items.

import package::element::load_bits;
import package::second::load_b_element;

@group(0) @binding(7) var<storage, read> statistics: array<f32>; // [channels, 2] mean, 1 / deviation

fn summand(index: u32, item: u32, channel: u32) -> f32 {
    let away = load_b_element(index) - statistics[2u * channel];
    return bitcast<f32>(load_bits(index)) * (away * statistics[2u * channel + 1u]);
}
