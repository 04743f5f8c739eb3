// One lane does it all: nothing to reduce.

fn reduce_sum(value: f32, lane: u32) -> f32 {
    return value;
}

fn reduce_sum_i32(value: i32, lane: u32) -> i32 {
    return value;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    return value;
}

fn reduce_max_u32(value: u32, lane: u32) -> u32 {
    return value;
}
