struct Params {
    count: u32, // parameters
    columns: u32, // of the mask's matrix
    row_words: u32, // words of a row of the mask
    rows: u32, // of the table of coefficients
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> coefficients: array<f32>; // [rows, 16]
@group(0) @binding(5) var<storage, read> control: array<u32>; // factor, limit, skip, steps skipped

// The row for the steps that were skipped beyond those that the table knows of.
fn table_row() -> u32 {
    let skipped = control[3];
    let known = min(u32(coefficients[15]), skipped);
    return min(skipped - known, params.rows - 1u);
}

fn coefficient(row: u32, index: u32) -> f32 {
    return coefficients[row * 16u + index];
}
