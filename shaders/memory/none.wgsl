// A rule without state.

fn forget(index: u32) {
}
