// The largest element, as its bits.

import package::pool2d::key::pool_key;

fn begun() -> u32 {
    return 0xff800000u;
}

fn folded(total: u32, bits: u32) -> u32 {
    return select(total, bits, pool_key(bits) > pool_key(total));
}

fn finished(total: u32, area: f32) -> u32 {
    return total;
}
