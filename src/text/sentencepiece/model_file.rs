//! `tokenizer.model`: the protocol buffer that SentencePiece stores a model as.
//!
//! Messages are fields behind a key, `number << 3 | type`; a length comes before what is no number. Read is what the
//! encoder needs, everything else is passed over. The schema is
//! <https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto>.

use super::{Kind, Method, Model, Prefix};
use crate::text::TextError;

/// A model with the ids of the pieces around a text, where it has them.
#[derive(Debug)]
pub(in crate::text) struct ModelFile {
    pub(in crate::text) model: Model,
    pub(in crate::text) begin: Option<usize>,
    pub(in crate::text) end: Option<usize>,
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Integer(u64),
    Fixed32(u32),
    Bytes {
        bytes: &'a [u8],
        at: usize,
    },
    /// Of 64 bits; none of those that are read.
    Other,
}

/// Fields of a message that begins at byte `at` of the file.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// The next field with its number, or `None` behind the last.
    fn next(&mut self) -> Result<Option<(u64, Field<'a>)>, TextError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let begin = self.at;
        let key = self.integer()?;
        let field = match key & 7 {
            0 => Field::Integer(self.integer()?),
            1 => {
                self.take(8, "8 bytes")?;
                Field::Other
            }
            2 => {
                let length = self.integer()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let at = self.at;
                let bytes = self.take(length, "as many bytes as the length before says")?;
                Field::Bytes { bytes, at }
            }
            5 => {
                let bytes = self.take(4, "4 bytes")?;
                Field::Fixed32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            _ => return Err(wrong(begin, "a field of type 0, 1, 2 or 5")),
        };
        Ok(Some((key >> 3, field)))
    }

    fn take(&mut self, length: usize, expected: &'static str) -> Result<&'a [u8], TextError> {
        let (taken, rest) =
            (self.bytes.split_at_checked(length)).ok_or_else(|| wrong(self.at, expected))?;
        self.bytes = rest;
        self.at += length;
        Ok(taken)
    }

    /// Seven bits a byte, the lowest first; the last byte has no highest bit.
    fn integer(&mut self) -> Result<u64, TextError> {
        let begin = self.at;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, "an integer")?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(wrong(begin, "an integer of at most ten bytes"))
    }
}

fn wrong(at: usize, expected: &'static str) -> TextError {
    TextError::ModelFile { at, expected }
}

/// Reads the bytes of a `tokenizer.model`.
///
/// # Errors
/// [`TextError::ModelFile`] for bytes that are none, [`TextError::Unknown`] for models of words or characters.
pub(in crate::text) fn read_model(bytes: &[u8]) -> Result<ModelFile, TextError> {
    let mut model = Model {
        method: Method::Unigram,
        texts: Vec::new(),
        scores: Vec::new(),
        kinds: Vec::new(),
        unknown: None,
        charsmap: Vec::new(),
        prefix: Prefix::Each,
        joins_spaces: true,
    };
    let mut around = (1, 2);
    let mut fields = Fields::new(bytes, 0);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes { bytes, at }) => read_piece(&mut model, Fields::new(bytes, at))?,
            (2, Field::Bytes { bytes, at }) => {
                around = read_trainer(&mut model, around, Fields::new(bytes, at))?;
            }
            (3, Field::Bytes { bytes, at }) => read_normalizer(&mut model, Fields::new(bytes, at))?,
            (1..=3, _) => return Err(wrong(fields.at, "a message")),
            _ => {}
        }
    }
    let end = |id: i64| {
        usize::try_from(id)
            .ok()
            .filter(|&id| id < model.texts.len())
    };
    Ok(ModelFile {
        begin: end(around.0),
        end: end(around.1),
        model,
    })
}

fn read_piece(model: &mut Model, mut fields: Fields<'_>) -> Result<(), TextError> {
    let begin = fields.at;
    let (mut text, mut score, mut kind) = (None, 0.0, Kind::Normal);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes { bytes, at }) => {
                let read = std::str::from_utf8(bytes).map_err(|_| wrong(at, "a piece in UTF-8"))?;
                text = Some(read.to_owned());
            }
            (2, Field::Fixed32(bits)) => score = f32::from_bits(bits),
            (3, Field::Integer(id)) => {
                let known = i64::try_from(id).ok().and_then(Kind::from_id);
                kind = known.ok_or_else(|| TextError::Entry {
                    what: format!("the type of piece {}", model.texts.len()),
                    found: id.to_string(),
                    expected: Kind::ALLOWED,
                })?;
            }
            (1..=3, _) => return Err(wrong(begin, "a piece: text, score and type")),
            _ => {}
        }
    }
    model
        .texts
        .push(text.ok_or_else(|| wrong(begin, "a piece with a text"))?);
    model.scores.push(score);
    model.kinds.push(kind);
    Ok(())
}

/// The ids of the pieces around a text, those in `around` where it does not say.
fn read_trainer(
    model: &mut Model,
    mut around: (i64, i64),
    mut fields: Fields<'_>,
) -> Result<(i64, i64), TextError> {
    const METHOD: &str = "model_type";
    while let Some((number, field)) = fields.next()? {
        let Field::Integer(value) = field else {
            continue;
        };
        match number {
            3 => {
                model.method = match value {
                    1 => Method::Unigram,
                    2 => Method::Bpe,
                    _ => {
                        return Err(TextError::Unknown {
                            key: METHOD,
                            found: value.to_string(),
                            allowed: "1 (unigram), 2 (BPE)",
                        });
                    }
                }
            }
            24 if value != 0 => {
                return Err(TextError::Unknown {
                    key: "treat_whitespace_as_suffix",
                    found: value.to_string(),
                    allowed: "0 (a space belongs to the word behind it)",
                });
            }
            // Negative numbers are stored as 64 bits.
            40 => model.unknown = usize::try_from(value.cast_signed()).ok(),
            41 => around.0 = value.cast_signed(),
            42 => around.1 = value.cast_signed(),
            _ => {}
        }
    }
    Ok(around)
}

fn read_normalizer(model: &mut Model, mut fields: Fields<'_>) -> Result<(), TextError> {
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (2, Field::Bytes { bytes, .. }) => model.charsmap = bytes.to_vec(),
            (3, Field::Integer(value)) => {
                model.prefix = if value == 0 {
                    Prefix::Nothing
                } else {
                    Prefix::Each
                }
            }
            (4, Field::Integer(value)) => model.joins_spaces = value != 0,
            (5, Field::Integer(0)) => {
                return Err(TextError::Unknown {
                    key: "escape_whitespaces",
                    found: "0".to_owned(),
                    allowed: "1 (spaces are U+2581)",
                });
            }
            _ => {}
        }
    }
    Ok(())
}
