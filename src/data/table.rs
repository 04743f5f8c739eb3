//! A table of numbers with a column of labels as a set of samples.

use std::path::Path;

use super::{DataError, Dataset};
use crate::io::csv::{CsvOptions, Table, read_csv};

/// Loads the CSV file at `path`: samples `[features]`, missing values as NaN. `options` must name
/// the label.
///
/// # Errors
/// [`DataError::Io`] naming line and column of what is wrong in the file, and what [`from_table`]
/// refuses.
pub fn load_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Dataset, DataError> {
    if options.label.is_none() {
        return Err(DataError::NoLabelColumn);
    }
    let path = path.as_ref();
    from_table(&read_csv(path, options)?).map_err(|error| error.within(path))
}

/// The samples of a table, one a row, `[columns]`.
///
/// # Errors
/// [`DataError::NoLabelColumn`], and what [`Dataset::new`] refuses.
pub fn from_table(table: &Table) -> Result<Dataset, DataError> {
    let label = table.label.as_ref().ok_or(DataError::NoLabelColumn)?;
    let columns = &table.columns;
    let inputs = (0..table.n_rows)
        .flat_map(|row| columns.iter().map(move |column| column.values[row]))
        .collect();
    Dataset::new(
        inputs,
        vec![columns.len()],
        label.codes.clone(),
        label.classes.clone(),
    )?
    .with_feature_names(columns.iter().map(|column| column.name.clone()).collect())
}
