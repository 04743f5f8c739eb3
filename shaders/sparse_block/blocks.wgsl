// Places of kept blocks.

@group(0) @binding(4) var<storage, read> block_columns: array<u32>; // in blocks, ascending in a row of blocks
@group(0) @binding(5) var<storage, read> row_starts: array<u32>; // [rows of blocks + 1], in blocks
