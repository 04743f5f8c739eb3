// The exponential of how far a score lies below the largest: a share of a softmax before it is divided.
// Below -100 it counts as -100. NaN stays NaN, by its bits: a maximum with it is either operand, and some
// drivers have a number for its logarithm.

fn not_a_number(number: f32) -> bool {
    return (bitcast<u32>(number) & 0x7fffffffu) > 0x7f800000u;
}

fn share_below(below: f32) -> f32 {
    let is_nan = not_a_number(below);
    return select(exp(max(below, -100.0)), below, is_nan);
}
