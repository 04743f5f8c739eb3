@group(0) @binding(4) var<storage, read> zeros: array<u32>; // [n, groups] one signed byte each

fn load_zero(index: u32) -> i32 {
    return extractBits(bitcast<i32>(zeros[index / 4u]), 8u * (index & 3u), 8u);
}
