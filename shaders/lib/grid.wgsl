// Grids past the limit of one dimension are folded over two: this undoes it.

fn linear_workgroup(workgroup: vec3<u32>, count: vec3<u32>) -> u32 {
    return workgroup.x + workgroup.y * count.x;
}
