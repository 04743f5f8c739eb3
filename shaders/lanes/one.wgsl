// One lane per row: no barriers, for many short rows and for CPUs.

import package::variant::WORKGROUP_SIZE;

const LANE_STEP = 1u;

fn row_index(workgroup: u32, lane: u32) -> u32 {
    return workgroup * WORKGROUP_SIZE + lane;
}

// First element of the row that this lane takes; the others follow at LANE_STEP.
fn first_element(lane: u32) -> u32 {
    return 0u;
}
