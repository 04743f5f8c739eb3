// a / b, for |b| from 2^-126 to 2^126.

fn apply(a: f32, b: f32) -> f32 {
    return a / b;
}
