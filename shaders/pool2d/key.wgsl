// What decides a maximum: larger keys belong to larger values, the largest to NaN, so that NaN is not lost.

import package::lib::order::order_key;

fn pool_key(bits: u32) -> u32 {
    return select(order_key(bits), 0xffffffffu, (bits & 0x7fffffffu) > 0x7f800000u);
}
