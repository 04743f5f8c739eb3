// From a block's largest magnitude to its scale and codes.

// Blocks whose largest magnitude is below 2^-100 are zero: their reciprocals would leave f32.
const SMALLEST_MAXIMUM = 7.888609052210118e-31;

// The scale of a block, and what its values are multiplied by.
fn scale_of(largest: f32) -> vec2<f32> {
    let is_zero = largest < SMALLEST_MAXIMUM;
    return vec2<f32>(
        select(largest * 0.007874015748031496, 0.0, is_zero), // 1 / 127
        select(127.0 / max(largest, SMALLEST_MAXIMUM), 0.0, is_zero),
    );
}

fn quantize4(values: vec4<f32>, inverse_scale: f32) -> vec4<i32> {
    return vec4<i32>(clamp(round(values * inverse_scale), vec4<f32>(-127.0), vec4<f32>(127.0)));
}

// Bits of magnitudes: in the order of the magnitudes, those of NaN above all, so that a maximum keeps it.
fn magnitude_bits(values: vec4<f32>) -> vec4<u32> {
    return bitcast<vec4<u32>>(values) & vec4<u32>(0x7fffffffu);
}

fn largest_of(bits: vec4<u32>) -> u32 {
    return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
