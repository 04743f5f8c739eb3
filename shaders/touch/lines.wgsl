// For processors: a word of every cache line of the rows that the lanes are about to take, read at once. The loop over
// the rows meets a new line every few hundred instructions, too seldom to wait for several together.

import package::variant::{ROWS, SUBGROUP};
import package::bytes32::load_first_of_four;

const LINE_WORDS = 16u;

// Zero, whatever was read: `n` counts rows and has no highest bit, which only the one who calls knows.
fn touch_rows(first_row: u32, n: u32, row_words: u32, lane: u32) -> f32 {
    let first = min(first_row, n) * row_words;
    let end = min(first_row + SUBGROUP * ROWS, n) * row_words;
    var touched = 0u;
    for (var word = first; word < end; word += SUBGROUP * LINE_WORDS) {
        touched |= load_first_of_four(min(word + lane * LINE_WORDS, end - 1u));
    }
    return f32(touched & (n & 0x80000000u));
}
