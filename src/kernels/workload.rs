//! A kernel call asked for in words, as a command line does: extents such as `1024x1024x512` and a
//! comma-separated format such as `f16,nn` or `int4-g64`.

use std::sync::Arc;

use thiserror::Error;

use crate::num::{Bits, Granularity, QuantFormat, ScaleType, Scheme, ValueFormat, Zero};
use crate::record::Launch;

use super::{FloatType, ShapeError};

/// Why a workload is no launch.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum WorkloadError {
    /// Another number of extents than the kernel has.
    #[error("shape `{got}`: {kernel} takes {expected}")]
    Extents {
        /// Kernel name.
        kernel: &'static str,
        /// Extents by name.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// A word that says nothing about this kernel.
    #[error("format `{word}`: {kernel} knows {allowed}")]
    Word {
        /// Kernel name.
        kernel: &'static str,
        /// The word.
        word: String,
        /// What is allowed.
        allowed: String,
    },
    /// A shape the kernel refuses.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

/// Makes the launch that a workload asks for.
pub type WorkloadFn = fn(&mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError>;

/// Extents and words; a kernel takes what it knows, and what is left over is an error.
#[derive(Debug)]
pub struct Workload<'a> {
    kernel: &'static str,
    shape: &'a str,
    words: Vec<&'a str>,
    allowed: Vec<String>,
}

impl<'a> Workload<'a> {
    /// A workload of `shape` and `format`, which may be empty.
    pub fn new(kernel: &'static str, shape: &'a str, format: &'a str) -> Self {
        Self {
            kernel,
            shape,
            words: format.split(',').filter(|word| !word.is_empty()).collect(),
            allowed: Vec::new(),
        }
    }

    /// The launch that `make` sees in this workload.
    ///
    /// # Errors
    /// [`WorkloadError`], also for words that `make` did not take.
    pub fn launch(mut self, make: WorkloadFn) -> Result<Arc<dyn Launch>, WorkloadError> {
        let made = make(&mut self);
        match self.words.first() {
            // What was not understood comes before what follows from leaving it out.
            Some(word) if !matches!(made, Err(WorkloadError::Extents { .. })) => {
                Err(WorkloadError::Word {
                    kernel: self.kernel,
                    word: (*word).to_owned(),
                    allowed: self.allowed.join(", "),
                })
            }
            Some(_) | None => made,
        }
    }

    /// Exactly `N` extents, named as in `MxNxK`.
    ///
    /// # Errors
    /// [`WorkloadError::Extents`].
    pub fn extents<const N: usize>(
        &self,
        expected: &'static str,
    ) -> Result<[u32; N], WorkloadError> {
        let parsed: Option<Vec<u32>> = self.shape.split('x').map(|one| one.parse().ok()).collect();
        parsed
            .and_then(|extents| extents.try_into().ok())
            .ok_or_else(|| WorkloadError::Extents {
                kernel: self.kernel,
                expected,
                got: self.shape.to_owned(),
            })
    }

    /// The first word that `parse` knows; `allowed` says which those are.
    pub fn take<T>(&mut self, allowed: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.allowed.push(allowed.to_owned());
        let at = self.words.iter().position(|word| parse(word).is_some())?;
        parse(self.words.remove(at))
    }

    /// The first word that is one of the names.
    pub fn choose<T: Copy>(&mut self, options: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        let of = |word: &str| options.iter().find(|(name, _)| *name == word);
        self.take(&names.join("|"), |word| of(word).map(|(_, value)| *value))
    }

    /// A float storage type.
    pub fn float(&mut self) -> Option<FloatType> {
        let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
        self.choose(&types.map(|one| (one.name(), one)))
    }

    /// A weight format, `int4-g64` if none is named.
    pub fn weight(&mut self) -> QuantFormat {
        self.weight_named().unwrap_or(QuantFormat {
            bits: Bits::Int4,
            granularity: Granularity::Group(64),
            zero: Zero::Symmetric,
            scale_type: ScaleType::F16,
        })
    }

    /// A weight format, if one is named.
    pub fn weight_named(&mut self) -> Option<QuantFormat> {
        let allowed = "int8|int4 with -tensor, -channel or -g32 and the like, and -zp for zero points or -min for float minima";
        self.take(allowed, weight_format)
    }
}

/// What values a weight of a printed format has, quantized under the usual scheme of that format: `f32`,
/// `f16`, `int8-channel`, `int4-g64`. `None` for words that are no format, and for zero points.
pub fn value_format(word: &str) -> Option<ValueFormat> {
    match word {
        "f32" => return Some(ValueFormat::F32),
        "f16" => return Some(ValueFormat::F16),
        _ => {}
    }
    let format = weight_format(word).filter(|format| format.zero == Zero::Symmetric)?;
    let usual = match format.bits {
        Bits::Int8 => Scheme::int8_channel(),
        Bits::Int4 => Scheme::int4_channel(),
    };
    Some(ValueFormat::Quantized(Scheme {
        granularity: format.granularity,
        scale_type: format.scale_type,
        ..usual
    }))
}

/// A printed [`QuantFormat`], with f16 scales for groups and f32 scales for longer runs.
fn weight_format(word: &str) -> Option<QuantFormat> {
    let mut parts = word.split('-');
    let bits = match parts.next()? {
        "int4" => Bits::Int4,
        "int8" => Bits::Int8,
        _ => return None,
    };
    let (granularity, scale_type) = match parts.next()? {
        "tensor" => (Granularity::Tensor, ScaleType::F32),
        "channel" => (Granularity::Channel, ScaleType::F32),
        group => {
            let size = group.strip_prefix('g')?.parse().ok()?;
            (Granularity::Group(size), ScaleType::F16)
        }
    };
    let zero = match parts.next() {
        None => Zero::Symmetric,
        Some("zp") => Zero::ZeroPoint,
        Some("min") => Zero::FloatMinimum,
        Some(_) => return None,
    };
    parts.next().is_none().then_some(QuantFormat {
        bits,
        granularity,
        zero,
        scale_type,
    })
}

#[cfg(test)]
mod tests {
    use crate::kernels::REGISTRY;

    use super::*;

    fn launch(kernel: &str, shape: &str, format: &str) -> Result<String, WorkloadError> {
        let kernel = REGISTRY
            .iter()
            .find(|one| one.name == kernel)
            .expect("a kernel");
        Workload::new(kernel.name, shape, format)
            .launch(kernel.workload)
            .map(|launch| launch.describe())
    }

    #[test]
    fn words_and_extents_make_the_launch_they_say() {
        assert_eq!(
            launch("matmul_dense", "8x16x32", "f16,nn").expect("a product"),
            "batch=1 m=8 n=16 k=32 f16[m,k] f16[k,n]"
        );
        let quantized = launch("matmul_quant", "9x16x128", "int8-g32-zp,f16").expect("a product");
        assert_eq!(quantized, "m=9 n=16 k=128 int8-g32-zp scale-f16 x-f16");
        let integer = launch("matvec_int8", "1x16x128", "int8-channel,b64").expect("a product");
        assert_eq!(integer, "m=1 n=16 k=128 int8-channel scale-f32 x-int8-b64");
    }

    #[test]
    fn every_kernel_has_a_workload_of_its_own() {
        for kernel in REGISTRY {
            let shapes = [
                "64",
                "16x64",
                "8x64x128",
                "8x64x4",
                "1x8x64x128",
                "1x2x4x8x64",
                "1x4x2x8x16x64",
            ];
            let made = shapes
                .iter()
                .filter_map(|shape| launch(kernel.name, shape, "").ok())
                .count();
            assert!(made >= 1, "{}", kernel.name);
        }
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_is() {
        assert_eq!(
            launch("matmul_dense", "8x16", "")
                .expect_err("two extents")
                .to_string(),
            "shape `8x16`: matmul_dense takes MxNxK or BATCHxMxNxK"
        );
        let error = launch("matmul_quant", "9x16x128", "int5-g32").expect_err("no such width");
        assert!(
            error
                .to_string()
                .contains("format `int5-g32`: matmul_quant knows f32|f16|bf16, int8|int4")
        );
        let error = launch("matmul_quant", "9x16x128", "int4-g24").expect_err("128 % 24");
        assert!(matches!(
            error,
            WorkloadError::Shape(ShapeError::NotMultiple { .. })
        ));
        assert!(launch("fill", "9e9", "").is_err());
    }
}
