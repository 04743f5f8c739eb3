// Philox4x32-10 (Salmon et al. 2011), bit for bit as num::philox.

// High half of a 64-bit product, from 16-bit halves.
fn high_product(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let left = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let right = (a & 0xffffu) * (b >> 16u) + (left & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (left >> 16u) + (right >> 16u);
}

fn philox_block(key: vec2<u32>, counter: vec4<u32>) -> vec4<u32> {
    var k = key;
    var c = counter;
    for (var round = 0u; round < 10u; round++) {
        let high0 = high_product(0xd2511f53u, c.x);
        let high1 = high_product(0xcd9e8d57u, c.z);
        c = vec4(high1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, high0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
        k += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}
