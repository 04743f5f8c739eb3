// As reduce/shared for SUMS sums at once: the barriers of one tree serve them all.
// WORKGROUP_SIZE is a power of two; every lane of the workgroup calls and gets the results.

import package::variant::{SUMS, WORKGROUP_SIZE};

var<workgroup> shared_f32: array<f32, SUMS * WORKGROUP_SIZE>;
var<workgroup> shared_i32: array<i32, SUMS * WORKGROUP_SIZE>;

fn reduce_sums(values: ptr<function, array<f32, SUMS>>, lane: u32) {
    for (var at = 0u; at < SUMS; at++) {
        shared_f32[at * WORKGROUP_SIZE + lane] = (*values)[at];
    }
    workgroupBarrier();
    for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            for (var at = lane; at < SUMS * WORKGROUP_SIZE; at += WORKGROUP_SIZE) {
                shared_f32[at] += shared_f32[at + width];
            }
        }
        workgroupBarrier();
    }
    for (var at = 0u; at < SUMS; at++) {
        (*values)[at] = shared_f32[at * WORKGROUP_SIZE];
    }
    workgroupBarrier(); // before the next call overwrites them
}

fn reduce_sums_i32(values: ptr<function, array<i32, SUMS>>, lane: u32) {
    for (var at = 0u; at < SUMS; at++) {
        shared_i32[at * WORKGROUP_SIZE + lane] = (*values)[at];
    }
    workgroupBarrier();
    for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            for (var at = lane; at < SUMS * WORKGROUP_SIZE; at += WORKGROUP_SIZE) {
                shared_i32[at] += shared_i32[at + width];
            }
        }
        workgroupBarrier();
    }
    for (var at = 0u; at < SUMS; at++) {
        (*values)[at] = shared_i32[at * WORKGROUP_SIZE];
    }
    workgroupBarrier(); // before the next call overwrites them
}
