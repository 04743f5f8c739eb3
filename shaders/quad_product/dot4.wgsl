// Products of four byte codes by the adapter's integer dot product.

alias Quad = u32;
alias Accumulator = i32;

// Elements after which a sum must be taken over: any number will do, i32 sums are exact.
const CHUNK = 0x01000000u;

fn quad_of(bytes: u32) -> Quad {
    return bytes;
}

fn quad_product(a: Quad, b: Quad) -> Accumulator {
    return dot4I8Packed(a, b);
}
