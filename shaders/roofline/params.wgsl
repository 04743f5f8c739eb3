struct Params {
    count: u32, // invocations
    steps: u32, // of each
}

@group(0) @binding(0) var<uniform> params: Params;
