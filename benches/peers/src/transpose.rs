//! The other layout of a matrix, for libraries and methods that want it.

/// `[columns, rows]` of a matrix `[rows, columns]`.
pub fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}
