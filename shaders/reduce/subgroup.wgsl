// Subgroups reduce in registers, then every lane adds the subgroups' results in lane order. Works for
// any subgroup size and any mapping of lanes to subgroups: one lane of each subgroup deposits its
// result at its own index, the others deposit the neutral element.

@if(web) enable subgroups;
import package::variant::WORKGROUP_SIZE;

var<workgroup> shared_f32: array<f32, WORKGROUP_SIZE>;
var<workgroup> shared_i32: array<i32, WORKGROUP_SIZE>;
var<workgroup> shared_u32: array<u32, WORKGROUP_SIZE>;

fn reduce_sum(value: f32, lane: u32) -> f32 {
    let partial = subgroupAdd(value);
    shared_f32[lane] = select(0.0, partial, subgroupBroadcastFirst(lane) == lane);
    workgroupBarrier();
    var total = 0.0;
    for (var other = 0u; other < WORKGROUP_SIZE; other++) {
        total += shared_f32[other];
    }
    workgroupBarrier();
    return total;
}

fn reduce_sum_i32(value: i32, lane: u32) -> i32 {
    let partial = subgroupAdd(value);
    shared_i32[lane] = select(0, partial, subgroupBroadcastFirst(lane) == lane);
    workgroupBarrier();
    var total = 0;
    for (var other = 0u; other < WORKGROUP_SIZE; other++) {
        total += shared_i32[other];
    }
    workgroupBarrier();
    return total;
}

fn reduce_max(value: f32, lane: u32) -> f32 {
    let partial = subgroupMax(value);
    shared_f32[lane] = partial;
    workgroupBarrier();
    var total = shared_f32[0];
    for (var other = 1u; other < WORKGROUP_SIZE; other++) {
        total = max(total, shared_f32[other]);
    }
    workgroupBarrier();
    return total;
}

fn reduce_max_u32(value: u32, lane: u32) -> u32 {
    let partial = subgroupMax(value);
    shared_u32[lane] = partial;
    workgroupBarrier();
    var total = shared_u32[0];
    for (var other = 1u; other < WORKGROUP_SIZE; other++) {
        total = max(total, shared_u32[other]);
    }
    workgroupBarrier();
    return total;
}
