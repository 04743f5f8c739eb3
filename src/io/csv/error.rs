//! What can be wrong with a table in a CSV file, or with a request made of one.
//!
//! Names and values come from the file and may be anything; they are stored shortened and printed
//! escaped, so that a message stays one readable line.

/// Text that is not a table of numbers. Lines count from 1, as in an editor; a line that begins a
/// row of several lines (a quoted line break) stands for the row. Columns are named by the header,
/// or counted from 1 where there is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    /// The separator asked for has another meaning.
    #[error("separator {:?}; allowed: any byte but a quote and the ends of lines", char::from(*separator))]
    Separator {
        /// The byte.
        separator: u8,
    },
    /// There is no header.
    #[error("is empty; it needs a header with the names of its columns")]
    Empty,
    /// There is a header and nothing else.
    #[error("has a header and no rows")]
    NoRows,
    /// A column has no name.
    #[error("line {line}: column {number} of the header has no name")]
    UnnamedColumn {
        /// Line of the header.
        line: u64,
        /// The column, counted from 1.
        number: usize,
    },
    /// Two columns have the same name.
    #[error("line {line}: column {name:?} occurs more than once; names must differ")]
    DuplicateColumn {
        /// Line of the header.
        line: u64,
        /// The name.
        name: String,
    },
    /// A row has more or fewer fields than the header.
    #[error("line {line}: has {found} fields, but the header has {expected}")]
    FieldCount {
        /// Line of the row.
        line: u64,
        /// Fields of the row.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// A field is not text.
    #[error("line {line}, column {column}: not UTF-8")]
    NotUtf8 {
        /// Line of the row.
        line: u64,
        /// The column, counted from 1.
        column: usize,
    },
    /// A field is not a number.
    #[error(
        "line {line}, column {column:?}: {value:?} is not a number; allowed: a decimal number, \
         or for a missing value an empty field, ?, NA, NaN or null"
    )]
    NotANumber {
        /// Line of the row.
        line: u64,
        /// Name of the column.
        column: String,
        /// The field.
        value: String,
    },
    /// A field is infinite, or too large for f32.
    #[error(
        "line {line}, column {column:?}: {value:?} is not finite in f32; allowed: up to {}",
        f32::MAX
    )]
    NotFinite {
        /// Line of the row.
        line: u64,
        /// Name of the column.
        column: String,
        /// The field.
        value: String,
    },
    /// A row has no label.
    #[error("line {line}, column {column:?}: a label cannot be missing")]
    MissingLabel {
        /// Line of the row.
        line: u64,
        /// Name of the label column.
        column: String,
    },
    /// No column has the name asked for.
    #[error("no column {name:?} among {n_columns}{}", Near(near))]
    UnknownColumn {
        /// The name asked for.
        name: String,
        /// Names close to it, the closest first; may be empty.
        near: Vec<String>,
        /// Columns of the header.
        n_columns: usize,
    },
    /// The label is the only column.
    #[error("column {label:?} is the label and there is no other")]
    OnlyLabels {
        /// Name of the label column.
        label: String,
    },
    /// The CSV reader refuses the text for a reason not named above.
    #[error("refused by the CSV reader: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
}

struct Near<'a>(&'a [String]);

impl std::fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => Ok(()),
            names => write!(f, "; near names: {}", names.join(", ").escape_debug()),
        }
    }
}
