// One workgroup per row: neighbouring lanes read neighbouring elements.

import package::variant::WORKGROUP_SIZE;

const LANE_STEP = WORKGROUP_SIZE;

fn row_index(workgroup: u32, lane: u32) -> u32 {
    return workgroup;
}

// First element of the row that this lane takes; the others follow at LANE_STEP.
fn first_element(lane: u32) -> u32 {
    return lane;
}
