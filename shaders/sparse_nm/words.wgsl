// Places of kept weights within their groups.

@group(0) @binding(4) var<storage, read> indices: array<u32>; // [ceil(n / vector), index_words], low bits first
