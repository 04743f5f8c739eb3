// Where the entries of each row are.

@group(0) @binding(5) var<storage, read> row_starts: array<u32>; // [n + 1], in entries, multiples of 8
