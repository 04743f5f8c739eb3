// Activation codes a word at a time, for lanes that share a row.

@group(0) @binding(1) var<storage, read> x: array<u32>; // [m, x_row_words] four codes each

fn load_word(index: u32) -> u32 {
    return x[index];
}
