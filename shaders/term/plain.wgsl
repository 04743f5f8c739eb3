import package::element::load_bits;

fn summand(index: u32, item: u32, channel: u32) -> f32 {
    return bitcast<f32>(load_bits(index));
}
