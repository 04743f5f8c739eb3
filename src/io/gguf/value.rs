//! Metadata values: numbers, strings and arrays of them, under keys.

use std::fmt;

use super::GgufError;
use crate::io::safetensors::shown;

/// The type of a metadata value, as numbered in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// u8.
    U8,
    /// i8.
    I8,
    /// u16.
    U16,
    /// i16.
    I16,
    /// u32.
    U32,
    /// i32.
    I32,
    /// f32.
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// UTF-8 behind its length.
    String,
    /// Values of one type behind their number.
    Array,
    /// u64.
    U64,
    /// i64.
    I64,
    /// f64.
    F64,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// Its number in a file.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    pub(super) fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The fewest bytes that a value of this type takes in a file.
    pub(super) const fn min_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        })
    }
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the type it is named after")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

impl Value {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }
}

/// A metadata array; all of its values have one type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is the type it is named after")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Array {
    /// The type of its values.
    #[must_use]
    pub const fn kind(&self) -> ValueType {
        match self {
            Self::U8(_) => ValueType::U8,
            Self::I8(_) => ValueType::I8,
            Self::U16(_) => ValueType::U16,
            Self::I16(_) => ValueType::I16,
            Self::U32(_) => ValueType::U32,
            Self::I32(_) => ValueType::I32,
            Self::F32(_) => ValueType::F32,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
            Self::U64(_) => ValueType::U64,
            Self::I64(_) => ValueType::I64,
            Self::F64(_) => ValueType::F64,
        }
    }
}

/// Keys and values in the order of the file; no key twice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
}

impl Metadata {
    /// Checks that no key occurs twice.
    ///
    /// # Errors
    /// [`GgufError::DuplicateKey`].
    pub fn new(pairs: Vec<(String, Value)>) -> Result<Self, GgufError> {
        let mut keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(GgufError::DuplicateKey {
                key: shown(pair[0]),
            }),
            None => Ok(Self { pairs }),
        }
    }

    /// Every key and value, in the order of the file.
    #[must_use]
    pub fn pairs(&self) -> &[(String, Value)] {
        &self.pairs
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        let (_, value) = self.pairs.iter().find(|(found, _)| found == key)?;
        Some(value)
    }

    fn wanted<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, GgufError> {
        let value = self.get(key).ok_or_else(|| GgufError::MissingKey {
            key: shown(key),
            expected,
        })?;
        read(value).ok_or_else(|| GgufError::WrongValue {
            key: shown(key),
            found: describe(value),
            expected,
        })
    }

    /// A string.
    ///
    /// # Errors
    /// [`GgufError::MissingKey`] or [`GgufError::WrongValue`]; so for all that follow.
    pub fn text(&self, key: &str) -> Result<&str, GgufError> {
        self.wanted(key, "a string", |value| match value {
            Value::String(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An integer of any width that is not negative.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn count(&self, key: &str) -> Result<u64, GgufError> {
        self.wanted(key, "an integer of at least 0", |value| match *value {
            Value::U8(x) => Some(x.into()),
            Value::U16(x) => Some(x.into()),
            Value::U32(x) => Some(x.into()),
            Value::U64(x) => Some(x),
            Value::I8(x) => x.try_into().ok(),
            Value::I16(x) => x.try_into().ok(),
            Value::I32(x) => x.try_into().ok(),
            Value::I64(x) => x.try_into().ok(),
            _ => None,
        })
    }

    /// A float of either width.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn float(&self, key: &str) -> Result<f64, GgufError> {
        self.wanted(key, "a float", |value| match *value {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn flag(&self, key: &str) -> Result<bool, GgufError> {
        self.wanted(key, "a bool", |value| match *value {
            Value::Bool(x) => Some(x),
            _ => None,
        })
    }

    /// An array of strings.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn texts(&self, key: &str) -> Result<&[String], GgufError> {
        self.wanted(key, "an array of strings", |value| match value {
            Value::Array(Array::String(texts)) => Some(texts.as_slice()),
            _ => None,
        })
    }

    /// An array of i32.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn integers(&self, key: &str) -> Result<&[i32], GgufError> {
        self.wanted(key, "an array of i32", |value| match value {
            Value::Array(Array::I32(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// An array of f32.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn floats(&self, key: &str) -> Result<&[f32], GgufError> {
        self.wanted(key, "an array of f32", |value| match value {
            Value::Array(Array::F32(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// An array of bytes, whether they are stored with a sign or not.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn bytes(&self, key: &str) -> Result<Vec<u8>, GgufError> {
        self.wanted(key, "an array of u8 or i8", |value| match value {
            Value::Array(Array::U8(values)) => Some(values.clone()),
            Value::Array(Array::I8(values)) => {
                Some(values.iter().map(|value| value.cast_unsigned()).collect())
            }
            _ => None,
        })
    }
}

/// A value in a message: its type, and itself if it is short.
fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the string {:?}", shown(text)),
        Value::Array(array) => format!("an array of {}", array.kind()),
        Value::U8(x) => format!("the u8 {x}"),
        Value::I8(x) => format!("the i8 {x}"),
        Value::U16(x) => format!("the u16 {x}"),
        Value::I16(x) => format!("the i16 {x}"),
        Value::U32(x) => format!("the u32 {x}"),
        Value::I32(x) => format!("the i32 {x}"),
        Value::U64(x) => format!("the u64 {x}"),
        Value::I64(x) => format!("the i64 {x}"),
        Value::F32(x) => format!("the f32 {x}"),
        Value::F64(x) => format!("the f64 {x}"),
        Value::Bool(x) => format!("the bool {x}"),
    }
}
