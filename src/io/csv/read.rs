//! From the text of a CSV file to a [`Table`].

use std::collections::BTreeSet;
use std::path::Path;

use ::csv::{ByteRecord, ReaderBuilder, Trim};

use super::{Column, CsvError, CsvOptions, LabelColumn, Table};
use crate::io::safetensors::shown;
use crate::io::{IoError, near_names, read_bytes};

/// Reads the CSV file at `path`.
///
/// # Errors
/// [`IoError::NotFound`], [`IoError::NotAFile`], [`IoError::Read`], or [`IoError::Csv`] with the
/// first thing wrong with its text.
pub fn read_csv(path: impl AsRef<Path>, options: &CsvOptions) -> Result<Table, IoError> {
    let path = path.as_ref();
    parse_csv(&read_bytes(path)?, options).map_err(|reason| IoError::Csv {
        file: path.to_owned(),
        reason,
    })
}

/// Reads the text of a CSV file.
///
/// # Errors
/// A [`CsvError`] naming the first thing wrong, with its line and column. Never panics.
pub fn parse_csv(text: &[u8], options: &CsvOptions) -> Result<Table, CsvError> {
    if matches!(options.separator, b'"' | b'\n' | b'\r') {
        return Err(CsvError::Separator {
            separator: options.separator,
        });
    }
    let mut reader = ReaderBuilder::new()
        .delimiter(options.separator)
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .from_reader(text);
    let mut rows = Rows {
        text,
        record: ByteRecord::new(),
    };
    if !rows.next(&mut reader)? {
        return Err(CsvError::Empty);
    }
    let names = column_names(&rows)?;
    let label_index = label_index(&names, options)?;
    let mut columns: Vec<Vec<f32>> = vec![Vec::new(); names.len()];
    let mut labels = Vec::new();
    let mut n_rows = 0;
    while rows.next(&mut reader)? {
        if rows.record.len() != names.len() {
            return Err(CsvError::FieldCount {
                line: rows.line(),
                found: rows.record.len(),
                expected: names.len(),
            });
        }
        for (index, values) in columns.iter_mut().enumerate() {
            if label_index == Some(index) {
                labels.push(rows.label(index, &names)?);
            } else {
                values.push(rows.value(index, &names)?);
            }
        }
        n_rows += 1;
    }
    if n_rows == 0 {
        return Err(CsvError::NoRows);
    }
    let columns = names.iter().zip(columns).enumerate();
    Ok(Table {
        label: label_index.map(|index| LabelColumn::new(names[index].clone(), &labels)),
        columns: columns
            .filter(|(index, _)| label_index != Some(*index))
            .map(|(_, (name, values))| Column {
                name: name.clone(),
                values,
            })
            .collect(),
        n_rows,
    })
}

fn column_names(header: &Rows) -> Result<Vec<String>, CsvError> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for index in 0..header.record.len() {
        let name = header.field(index)?;
        if name.is_empty() {
            return Err(CsvError::UnnamedColumn {
                line: header.line(),
                number: index + 1,
            });
        }
        if !seen.insert(name) {
            return Err(CsvError::DuplicateColumn {
                line: header.line(),
                name: shown(name),
            });
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn label_index(names: &[String], options: &CsvOptions) -> Result<Option<usize>, CsvError> {
    let Some(label) = &options.label else {
        return Ok(None);
    };
    let index = names.iter().position(|name| name == label);
    let index = index.ok_or_else(|| CsvError::UnknownColumn {
        name: shown(label),
        near: near_names(label, names.iter().map(String::as_str))
            .iter()
            .map(|name| shown(name))
            .collect(),
        n_columns: names.len(),
    })?;
    if names.len() == 1 {
        return Err(CsvError::OnlyLabels {
            label: shown(label),
        });
    }
    Ok(Some(index))
}

/// The rows of a text one after another.
struct Rows<'a> {
    text: &'a [u8],
    record: ByteRecord,
}

impl Rows<'_> {
    /// Moves to the next row; false after the last.
    fn next(&mut self, reader: &mut ::csv::Reader<&[u8]>) -> Result<bool, CsvError> {
        reader
            .read_byte_record(&mut self.record)
            .map_err(|reason| CsvError::Refused {
                reason: reason.to_string(),
            })
    }

    /// The line the row begins on. The reader's own count stops before the empty lines that it
    /// skips, so the line is counted here, and only once something is wrong with it.
    fn line(&self) -> u64 {
        let position = self.record.position().map_or(0, ::csv::Position::byte) as usize;
        let position = position.min(self.text.len());
        let is_break = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        let skipped = self.text[position..].iter().take_while(is_break).count();
        let before = &self.text[..position + skipped];
        let mut previous = 0;
        let mut line = 1;
        for &byte in before {
            line += u64::from(byte == b'\r' || (byte == b'\n' && previous != b'\r'));
            previous = byte;
        }
        line
    }

    fn field(&self, index: usize) -> Result<&str, CsvError> {
        std::str::from_utf8(&self.record[index]).map_err(|_| CsvError::NotUtf8 {
            line: self.line(),
            column: index + 1,
        })
    }

    fn value(&self, index: usize, names: &[String]) -> Result<f32, CsvError> {
        let field = self.field(index)?;
        if is_missing(field) {
            return Ok(f32::NAN);
        }
        match field.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            // "-nan" and "infinity" parse too.
            Ok(_) => Err(CsvError::NotFinite {
                line: self.line(),
                column: shown(&names[index]),
                value: shown(field),
            }),
            Err(_) => Err(CsvError::NotANumber {
                line: self.line(),
                column: shown(&names[index]),
                value: shown(field),
            }),
        }
    }

    fn label(&self, index: usize, names: &[String]) -> Result<String, CsvError> {
        let field = self.field(index)?;
        if is_missing(field) {
            return Err(CsvError::MissingLabel {
                line: self.line(),
                column: shown(&names[index]),
            });
        }
        Ok(field.to_owned())
    }
}

fn is_missing(field: &str) -> bool {
    field.is_empty()
        || ["?", "na", "nan", "null"]
            .iter()
            .any(|word| field.eq_ignore_ascii_case(word))
}
