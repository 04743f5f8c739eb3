struct Params {
    count: u32, // parameters
    columns: u32, // of the mask's matrix
    row_words: u32, // words of a row of the mask
    rows: u32, // of the table of coefficients
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> coefficients: array<f32>; // [rows, 16]
@group(0) @binding(5) var<storage, read> control: array<u32>; // factor, limit, skip, steps skipped

// One row, read once for all parameters of a lane.
var<private> row_values: array<f32, 16>;

// Reads the row for the steps that were skipped beyond those that the table knows of.
fn load_row() {
    let skipped = control[3];
    let known = min(u32(coefficients[15]), skipped);
    let row = min(skipped - known, params.rows - 1u);
    for (var index = 0u; index < 16u; index++) {
        row_values[index] = coefficients[row * 16u + index];
    }
}

fn coefficient(index: u32) -> f32 {
    return row_values[index];
}
