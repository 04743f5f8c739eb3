// Smallest value: the largest of the negated ones.

import package::reduce::reduce_max;

fn initial(first: f32) -> f32 {
    return first;
}

fn accumulate(total: f32, value: f32) -> f32 {
    return min(total, value);
}

fn finish(total: f32, lane: u32, count: u32) -> f32 {
    return -reduce_max(-total, lane);
}
