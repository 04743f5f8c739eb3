//! What a CSV file is read into, and how to read it.

/// How to read a CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// The byte between two fields: a comma, a semicolon, a tab. Not `"`, LF or CR.
    pub separator: u8,
    /// Name of the column that holds labels; every other column holds numbers.
    pub label: Option<String>,
}

impl Default for CsvOptions {
    /// Commas, and no label.
    fn default() -> Self {
        Self {
            separator: b',',
            label: None,
        }
    }
}

/// A table: columns of one length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The columns of numbers, in the order of the file; at least one.
    pub columns: Vec<Column>,
    /// The column of labels, if one was asked for.
    pub label: Option<LabelColumn>,
    /// Rows, at least one; the length of every column.
    pub n_rows: usize,
}

/// A named column of numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name in the header.
    pub name: String,
    /// One value a row, finite, or NaN where it is missing.
    pub values: Vec<f32>,
}

/// A column of labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelColumn {
    /// Its name in the header.
    pub name: String,
    /// The different labels: in ascending order if all are numbers below 2^53 (written shortest, so
    /// `1.0` and `1` are both `1`), else in the order of their bytes.
    pub classes: Vec<String>,
    /// For each row the index of its label in `classes`.
    pub codes: Vec<u32>,
}

impl LabelColumn {
    /// The column of these labels.
    pub(super) fn new(name: String, labels: &[String]) -> Self {
        let numbers: Option<Vec<f64>> = labels.iter().map(|label| number(label)).collect();
        match numbers {
            Some(numbers) => {
                let mut classes = numbers.clone();
                classes.sort_unstable_by(f64::total_cmp);
                classes.dedup();
                let code = |x: &f64| classes.partition_point(|class| class < x) as u32;
                Self {
                    name,
                    codes: numbers.iter().map(code).collect(),
                    classes: classes.iter().map(f64::to_string).collect(),
                }
            }
            None => {
                let mut classes: Vec<&String> = labels.iter().collect();
                classes.sort_unstable();
                classes.dedup();
                let code = |label: &String| classes.partition_point(|&class| class < label) as u32;
                Self {
                    name,
                    codes: labels.iter().map(code).collect(),
                    classes: classes.into_iter().cloned().collect(),
                }
            }
        }
    }
}

/// A number, if it is one that f64 tells from its neighbours: longer ones are names, so that two
/// never become one class. Both zeros are the positive one.
fn number(label: &str) -> Option<f64> {
    const LIMIT: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;
    let number: f64 = label.parse().ok()?;
    (number.abs() < LIMIT).then_some(number + 0.0)
}
