struct Params {
    rows: u32,
    columns: u32,
    divisor: u32, // of the largest magnitude times 2^doubled
    shift: u32, // divisor < 2^shift <= 2 * divisor
    doubled: u32,
    floor_bits: u32, // smallest scale, as the bits of f32
    ceiling_bits: u32, // largest scale that its type holds
}

@group(0) @binding(0) var<uniform> params: Params;
