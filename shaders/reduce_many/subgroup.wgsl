// As reduce/subgroup for SUMS sums at once: subgroups reduce in registers, then each sum has
// a lane that adds the subgroups' results in lane order. Works for any subgroup size and any mapping of
// lanes to subgroups: one lane of each deposits its result at its own index, the others deposit zero.

@if(web) enable subgroups;
import package::variant::{SUMS, WORKGROUP_SIZE};

var<workgroup> shared_f32: array<f32, SUMS * WORKGROUP_SIZE>;
var<workgroup> shared_i32: array<i32, SUMS * WORKGROUP_SIZE>;

fn reduce_sums(values: ptr<function, array<f32, SUMS>>, lane: u32) {
    let deposits = subgroupBroadcastFirst(lane) == lane;
    for (var at = 0u; at < SUMS; at++) {
        shared_f32[at * WORKGROUP_SIZE + lane] = select(0.0, subgroupAdd((*values)[at]), deposits);
    }
    workgroupBarrier();
    for (var at = lane; at < SUMS; at += WORKGROUP_SIZE) {
        var total = 0.0;
        for (var other = 0u; other < WORKGROUP_SIZE; other++) {
            total += shared_f32[at * WORKGROUP_SIZE + other];
        }
        shared_f32[at * WORKGROUP_SIZE] = total;
    }
    workgroupBarrier();
    for (var at = 0u; at < SUMS; at++) {
        (*values)[at] = shared_f32[at * WORKGROUP_SIZE];
    }
    workgroupBarrier(); // before the next call overwrites them
}

fn reduce_sums_i32(values: ptr<function, array<i32, SUMS>>, lane: u32) {
    let deposits = subgroupBroadcastFirst(lane) == lane;
    for (var at = 0u; at < SUMS; at++) {
        shared_i32[at * WORKGROUP_SIZE + lane] = select(0, subgroupAdd((*values)[at]), deposits);
    }
    workgroupBarrier();
    for (var at = lane; at < SUMS; at += WORKGROUP_SIZE) {
        var total = 0;
        for (var other = 0u; other < WORKGROUP_SIZE; other++) {
            total += shared_i32[at * WORKGROUP_SIZE + other];
        }
        shared_i32[at * WORKGROUP_SIZE] = total;
    }
    workgroupBarrier();
    for (var at = 0u; at < SUMS; at++) {
        (*values)[at] = shared_i32[at * WORKGROUP_SIZE];
    }
    workgroupBarrier(); // before the next call overwrites them
}
