// A tree through workgroup memory in a fixed order. WORKGROUP_SIZE is a power of two; every lane of
// the workgroup calls, and every lane gets the result.

import package::variant::WORKGROUP_SIZE;

var<workgroup> shared_f32: array<f32, WORKGROUP_SIZE>;
var<workgroup> shared_i32: array<i32, WORKGROUP_SIZE>;
var<workgroup> shared_u32: array<u32, WORKGROUP_SIZE>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    shared_f32[lane] = value;
    workgroupBarrier();
    for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            shared_f32[lane] += shared_f32[lane + width];
        }
        workgroupBarrier();
    }
    let total = shared_f32[0];
    workgroupBarrier();
    return total;
}

fn reduce_sum_i32(value: i32, lane: u32) -> i32 {
    shared_i32[lane] = value;
    workgroupBarrier();
    for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            shared_i32[lane] += shared_i32[lane + width];
        }
        workgroupBarrier();
    }
    let total = shared_i32[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    shared_f32[lane] = value;
    workgroupBarrier();
    for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            shared_f32[lane] = max(shared_f32[lane], shared_f32[lane + width]);
        }
        workgroupBarrier();
    }
    let total = shared_f32[0];
    workgroupBarrier();
    return total;
}

fn reduce_max_u32(value: u32, lane: u32) -> u32 {
    shared_u32[lane] = value;
    workgroupBarrier();
    for (var width = WORKGROUP_SIZE / 2u; width > 0u; width /= 2u) {
        if (lane < width) {
            shared_u32[lane] = max(shared_u32[lane], shared_u32[lane + width]);
        }
        workgroupBarrier();
    }
    let total = shared_u32[0];
    workgroupBarrier();
    return total;
}
