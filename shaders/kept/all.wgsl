// Nothing is pruned.

fn is_kept(index: u32) -> bool {
    return true;
}
