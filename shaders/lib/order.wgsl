// f32 bits as integers in the order of their values, so that a maximum is exact on every driver:
// -0 counts as 0, subnormals as what they are, NaN lies beyond the infinity of its sign.

fn order_key(bits: u32) -> u32 {
    let value = select(bits, 0u, bits == 0x80000000u);
    return value ^ select(0x80000000u, 0xffffffffu, (value >> 31u) != 0u);
}
