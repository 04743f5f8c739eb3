struct Params {
    count: u32, // elements
    first: u32, // chunk that this launch's first one is
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(8) var<storage, read_write> statistics: array<u32>; // [chunks, 4] sum of squares, largest, not finite, 0
