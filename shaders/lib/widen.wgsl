// f16 and bf16 to the bits of the f32 of the same value, by integers only: exact on every driver,
// subnormals, signed zeros and NaN payloads included.

fn f16_to_f32_bits(bits: u32) -> u32 {
    let sign = (bits & 0x8000u) << 16u;
    let exponent = (bits >> 10u) & 31u;
    let mantissa = bits & 1023u;
    if (exponent == 31u) {
        return sign | 0x7f800000u | (mantissa << 13u);
    }
    if (exponent != 0u) {
        return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
    }
    if (mantissa == 0u) {
        return sign;
    }
    // Subnormal, mantissa * 2^-24: the leading one becomes the implicit bit of a normal f32.
    let leading = firstLeadingBit(mantissa);
    return sign | ((leading + 103u) << 23u) | ((mantissa << (23u - leading)) & 0x7fffffu);
}

fn bf16_to_f32_bits(bits: u32) -> u32 {
    return bits << 16u;
}
