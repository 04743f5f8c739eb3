// Selection by digits. A score is told from all others by 64 bits: its key, then the complement of its
// index, so that of equal keys the lower index is larger. Levels 0 to 3 look at the key's bytes from the
// top, levels 4 to 7 at the complement's.

const LEVELS = 8u;

// The bits that are known of the last score kept.
struct CutOff {
    key: u32,
    inverse_index: u32,
}

// Bytes not yet looked at, and those of levels that were skipped, are as in the complement of a small
// index.
fn first_cut_off() -> CutOff {
    return CutOff(0u, 0xffffffffu);
}

fn digit_shift(level: u32) -> u32 {
    return 24u - 8u * (level & 3u);
}

fn digit_of(level: u32, key: u32, index: u32) -> u32 {
    return (select(key, ~index, level >= 4u) >> digit_shift(level)) & 255u;
}

// Whether a score agrees with the cut-off in all bytes above this level's.
fn has_prefix(level: u32, key: u32, index: u32, cut: CutOff) -> bool {
    let above = ~((0x100u << digit_shift(level)) - 1u);
    let key_differs = key ^ cut.key;
    let index_differs = (~index) ^ cut.inverse_index;
    return select(key_differs & above, key_differs | (index_differs & above), level >= 4u) == 0u;
}

// The cut-off with this level's byte known.
fn with_digit(level: u32, cut: CutOff, digit: u32) -> CutOff {
    let shift = digit_shift(level);
    let before = select(cut.key, cut.inverse_index, level >= 4u);
    let after = (before & ~(0xffu << shift)) | (digit << shift);
    return CutOff(select(after, cut.key, level >= 4u), select(cut.inverse_index, after, level >= 4u));
}
