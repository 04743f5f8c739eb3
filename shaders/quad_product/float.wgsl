// Products of four byte codes in f32. A code is at most 128 in size and 128 * 128 * 1024 = 2^24, so a
// sum of up to CHUNK terms is exact.

alias Quad = vec4<f32>;
alias Accumulator = f32;

// Elements after which a sum must be taken over as an integer.
const CHUNK = 1024u;

fn quad_of(bytes: u32) -> Quad {
    return vec4<f32>(unpack4xI8(bytes));
}

fn quad_product(a: Quad, b: Quad) -> Accumulator {
    return dot(a, b);
}
