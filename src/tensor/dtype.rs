//! The element types a tensor may have.

use std::fmt;
use std::str::FromStr;

use super::TensorError;

/// The type of one element of a tensor. Packed formats (int4 groups, N:M masks) are not element
/// types: they are several tensors of these types, described by `num`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// Signed 64-bit integer.
    I64,
    /// Signed 32-bit integer.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 64-bit integer.
    U64,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 8-bit integer.
    U8,
    /// One byte per element: 0 is false, anything else is true.
    Bool,
}

impl DType {
    /// Every element type, widest kinds first, in declaration order.
    pub const ALL: [Self; 13] = [
        Self::F64,
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::I64,
        Self::I32,
        Self::I16,
        Self::I8,
        Self::U64,
        Self::U32,
        Self::U16,
        Self::U8,
        Self::Bool,
    ];

    /// Bytes of one element: 1, 2, 4 or 8.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// The lower-case name used in recipes, reports and the command line: `f32`, `bf16`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DType {
    type Err = TensorError;

    /// Reads the name printed by [`DType::name`], and nothing else.
    ///
    /// # Errors
    /// [`TensorError::UnknownDtype`], which lists the names allowed.
    fn from_str(name: &str) -> Result<Self, TensorError> {
        Self::ALL
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| TensorError::UnknownDtype {
                name: name.to_owned(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_dtype() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
            assert_eq!(dtype.to_string(), dtype.name());
        }
    }

    #[test]
    fn all_lists_each_dtype_once_in_declaration_order() {
        assert!(DType::ALL.is_sorted_by(|left, right| left < right));
        assert_eq!(DType::ALL.len(), DType::Bool as usize + 1);
    }

    #[test]
    fn display_honours_column_width() {
        assert_eq!(format!("{:>5}|", DType::BF16), " bf16|");
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names_allowed() {
        let error = "float".parse::<DType>().unwrap_err().to_string();
        assert_eq!(
            error,
            "unknown dtype \"float\"; allowed: f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, bool"
        );
        assert!("F32".parse::<DType>().is_err());
    }
}
