// For adapters whose lanes wait for memory while others work.

fn touch_rows(first_row: u32, n: u32, row_words: u32, lane: u32) -> f32 {
    return 0.0;
}
