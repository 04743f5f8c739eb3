// Codes above a minimum count from the lowest one.

fn load_zero(index: u32) -> i32 {
    return -8;
}
