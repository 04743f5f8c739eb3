// f16 and bf16 to the bits of the f32 of the same value, by integers only: exact on every driver,
// subnormals, signed zeros and NaN payloads included.

// Without branches: lanes of a CPU's vectors would go through all of them anyway, under masks.
fn f16_to_f32_bits(bits: u32) -> u32 {
    let sign = (bits & 0x8000u) << 16u;
    let exponent = (bits >> 10u) & 31u;
    let mantissa = bits & 1023u;
    let widened = select(exponent + 112u, 255u, exponent == 31u);
    // Subnormal, mantissa * 2^-24: the leading one becomes the implicit bit of a normal f32.
    let leading = min(firstLeadingBit(mantissa), 9u);
    let small = ((leading + 103u) << 23u) | ((mantissa << (23u - leading)) & 0x7fffffu);
    let subnormal = select(small, 0u, mantissa == 0u);
    return sign | select((widened << 23u) | (mantissa << 13u), subnormal, exponent == 0u);
}

fn bf16_to_f32_bits(bits: u32) -> u32 {
    return bits << 16u;
}
