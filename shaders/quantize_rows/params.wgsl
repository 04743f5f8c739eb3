struct Params {
    m: u32, // rows
    k: u32,
    row_words: u32, // words of one row of codes, a multiple of 4
    row_blocks: u32, // scale blocks of one row
    block_steps: u32, // 8-element steps of one block
    block_segments: u32, // segments of one block
    segment_steps: u32, // 8-element steps of one segment
    scales_start: u32, // word of this launch's first scale in `blocks`
    sums_start: u32, // word of this launch's first sum
}

@group(0) @binding(0) var<uniform> params: Params;
