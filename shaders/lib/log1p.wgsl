// log(1 + t) for t in [0, 1], accurate relative to itself: 2 atanh(t / (2 + t)) by its series, whose
// argument is at most 1/3; the first term left out is below 3e-9 of the sum.

fn log1p_of(t: f32) -> f32 {
    let z = t / (2.0 + t);
    let s = z * z;
    let tail = s * (0.33333333 + s * (0.2 + s * (0.14285715 + s * (0.11111111 + s * (0.09090909
        + s * (0.07692308 + s * 0.06666667))))));
    return 2.0 * z * (1.0 + tail);
}
