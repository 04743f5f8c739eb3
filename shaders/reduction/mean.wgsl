// Sum over count.

import package::reduce::reduce_sum;

fn initial(first: f32) -> f32 {
    return 0.0;
}

fn accumulate(total: f32, value: f32) -> f32 {
    return total + value;
}

fn finish(total: f32, lane: u32, count: u32) -> f32 {
    return reduce_sum(total, lane) / f32(count);
}
