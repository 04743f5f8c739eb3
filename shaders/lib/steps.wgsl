// value / scale to the nearest integer, half to even, exactly: significands are divided as integers, where a
// float quotient is only a first guess. So codes are equal on every driver, those on ties too.

struct Steps {
    nearest: i32, // of its sign 512, past every code, from a quotient of 256 on
    missing: f32, // nearest - value / scale
}

// The scale as it is divided by: at least the smallest normal f32, of its sign.
fn usable_scale(scale: u32) -> u32 {
    return (scale & 0x80000000u) | max(scale & 0x7fffffffu, 0x00800000u);
}

// Both as the bits of f32; scale is usable and finite.
fn steps_of(value: u32, scale: u32) -> Steps {
    let size = value & 0x7fffffffu;
    let step = scale & 0x7fffffffu;
    let sign = select(1, -1, ((value ^ scale) >> 31u) != 0u);
    let significand = (size & 0x7fffffu) | select(0u, 0x800000u, size >= 0x800000u);
    let divisor = (step & 0x7fffffu) | 0x800000u;
    // The quotient is significand / divisor, which is below 2, times 2^shift.
    let shift = i32(max(size >> 23u, 1u)) - i32(step >> 23u);
    if (shift > 8) {
        return Steps(sign * 512, 0.0);
    }
    if (shift < -2) {
        return Steps(0, f32(-sign) * (bitcast<f32>(size) / bitcast<f32>(step)));
    }
    let numerator = significand << u32(max(shift, 0));
    let denominator = divisor << u32(max(-shift, 0));
    var whole = u32(f32(numerator) / f32(denominator));
    var rest = bitcast<i32>(numerator - whole * denominator);
    if (rest < 0) {
        whole -= 1u;
        rest += i32(denominator);
    }
    if (rest >= i32(denominator)) {
        whole += 1u;
        rest -= i32(denominator);
    }
    let twice = 2u * u32(rest);
    let up = twice > denominator || (twice == denominator && (whole & 1u) == 1u);
    let nearest = i32(whole + select(0u, 1u, up));
    let missing = select(-rest, i32(denominator) - rest, up);
    return Steps(sign * nearest, f32(sign) * (f32(missing) / f32(denominator)));
}
