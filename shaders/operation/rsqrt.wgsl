// 1 / sqrt(a), for a from 2^-126.

fn apply(a: f32, b: f32) -> f32 {
    return inverseSqrt(a);
}
