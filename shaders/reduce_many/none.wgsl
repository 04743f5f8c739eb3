// One lane does it all: nothing to reduce.

import package::variant::SUMS;

fn reduce_sums(values: ptr<function, array<f32, SUMS>>, lane: u32) {}

fn reduce_sums_i32(values: ptr<function, array<i32, SUMS>>, lane: u32) {}
