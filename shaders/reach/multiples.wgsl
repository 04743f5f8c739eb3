// Only multiples of the stride come from a place of x; others give one past any extent.

fn reached(place: u32, divide: u32) -> u32 {
    return select(0xffffffffu, place / divide, place % divide == 0u);
}
