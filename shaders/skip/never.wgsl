// Weights are loaded whatever they meet.

fn is_wanted(nonzero: bool) -> bool {
    return true;
}
