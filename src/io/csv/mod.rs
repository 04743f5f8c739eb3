//! CSV files with a header: named columns of numbers, and one column of labels.
//!
//! The text is that of RFC 4180: fields between commas (or another separator), quoted with `"` where
//! they hold one, `""` for a quote inside, lines ended by LF, CR LF or CR, empty lines skipped, a
//! byte order mark allowed. Beyond the RFC, spaces and tabs around a field are not part of it.
//!
//! A field that is empty or reads `?`, `NA`, `NaN` or `null` in any case is a missing value. Numbers
//! are what Rust reads as `f32` (rounded to nearest), infinities excepted.

mod error;
mod read;
mod table;

pub use error::CsvError;
pub use read::{parse_csv, read_csv};
pub use table::{Column, CsvOptions, LabelColumn, Table};

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
