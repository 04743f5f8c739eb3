// f16 and bf16 by integer bits: exact on every driver, subnormals included. The built-in pack and
// unpack may flush subnormals, and one driver skips their rounding when the value stays in a register.

// Without branches: lanes of a CPU's vectors would go through all of them anyway, under masks.
fn f16_bits_to_f32(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let exponent = (bits >> 10u) & 31u;
    let mantissa = bits & 1023u;
    // Subnormal: mantissa * 2^-24, a normal f32.
    let magnitude = f32(mantissa) * 5.9604644775390625e-8;
    let subnormal = select(magnitude, -magnitude, sign != 0u);
    let widened = select(exponent + 112u, 255u, exponent == 31u);
    return select(bitcast<f32>(sign | (widened << 23u) | (mantissa << 13u)), subnormal, exponent == 0u);
}

fn bf16_bits_to_f32(bits: u32) -> f32 {
    return bitcast<f32>(bits << 16u);
}

// Nearest even, subnormals kept, overflow from 65520 to infinity, NaN stays NaN. Without branches, as above.
fn f32_bits_to_f16(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    // Normal: rebias, then add just under half of the dropped 13 bits, plus one when odd.
    let rebased = magnitude - 0x38000000u;
    let normal = (rebased + 0xfffu + ((rebased >> 13u) & 1u)) >> 13u;
    // Subnormal: the 24-bit significand moves right until its unit is 2^-24, rounded in the same way.
    let significand = (magnitude & 0x7fffffu) | 0x800000u;
    let shift = min(126u - (magnitude >> 23u), 31u);
    let odd = (significand >> shift) & 1u;
    let subnormal = (significand + (1u << (shift - 1u)) - 1u + odd) >> shift;
    let finite = select(subnormal, normal, magnitude >= 0x38800000u);
    let bounded = select(finite, 0x7c00u, magnitude >= 0x47800000u);
    let stored = select(bounded, 0u, magnitude < 0x33000000u);
    return sign | select(stored, 0x7e00u, magnitude > 0x7f800000u);
}

// Nearest even, NaN stays NaN.
fn f32_bits_to_bf16(bits: u32) -> u32 {
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (bits >> 16u) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
}
