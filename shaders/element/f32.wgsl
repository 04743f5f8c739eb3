// One f32 element as bits: what is only moved never passes through float arithmetic.

@group(0) @binding(1) var<storage, read> x: array<u32>; // [count]

fn load_bits(index: u32) -> u32 {
    return x[index];
}
