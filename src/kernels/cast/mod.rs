//! Conversion between float types: `out[i] = nearest(x[i])`, ties to even, over `count` elements.
//!
//! Done by integer bits, so that every driver gives the same bits:
//!
//! * widening (f16 or bf16 to f32) is exact, subnormals included, and keeps sign and payload of NaN;
//! * narrowing rounds once to nearest even, keeps subnormals, and overflows to infinity (from 65520
//!   in f16);
//! * f16 to bf16 and back go through f32: an exact widening, then one rounding;
//! * NaN stays NaN: to f16 it becomes `0x7e00` with its sign, to bf16 it keeps its upper 7 payload
//!   bits with the quiet bit set.

mod cases;

use std::sync::Arc;

use half::{bf16, f16};

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Variant};

use super::shape::{ShapeError, check_extents};
use super::split::{Streams, cut};
use super::{FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "cast";
const X: u32 = 1;
const OUT: u32 = 8;

params! {
    struct Params {
        count: u32,
    }
}

/// A conversion of `count` elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// Elements.
    pub count: u32,
    /// Type of the source.
    pub from: FloatType,
    /// Type of the result; another than `from`. Behind an odd count of 16-bit results the unused half
    /// of the last word is zero.
    pub to: FloatType,
}

impl Cast {
    /// Checks the conversion and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for no elements and for a conversion to the same type.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_extents(NAME, &[("count", self.count.into())])?;
        if self.from == self.to {
            let (value, allowed) = (self.to.to_string(), "another type than the source's");
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name: "result type",
                value,
                allowed,
            });
        }
        Ok(Arc::new(self))
    }
}

impl Launch for Cast {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!("count={} {} to {}", self.count, self.from, self.to)
    }

    fn slots(&self) -> Vec<Slot> {
        let count = u64::from(self.count);
        vec![
            Slot {
                binding: X,
                name: "x",
                access: Access::Read,
                bytes: count * self.from.bytes(),
            },
            Slot {
                binding: OUT,
                name: "out",
                access: Access::Write,
                bytes: count * self.to.bytes(),
            },
        ]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params { count: self.count }).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let variant = Variant::new(NAME).number("WORKGROUP_SIZE", 64);
        vec![
            variant
                .slot("element", self.from.name())
                .slot("pair", self.to.name()),
        ]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        u64::from(self.count).div_ceil(2 * u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _variant: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let source = operands.words(X);
        let bits = (0..self.count as usize).map(|index| widen(self.from, source, index));
        let words = match self.to {
            FloatType::F32 => bits.collect(),
            FloatType::F16 => pack(bits.map(to_f16)),
            FloatType::Bf16 => pack(bits.map(to_bf16)),
        };
        vec![Output::new(OUT, Values::Words(words))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        let count = f64::from(self.count);
        Cost {
            operations: count,
            bytes: count * (self.from.bytes() + self.to.bytes()) as f64,
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let by_row = vec![(X, self.from.bytes()), (OUT, self.to.bytes())];
        let streams = Streams {
            by_row,
            ..Streams::default()
        };
        let tiles = cut(self.count, 1, &streams, max_bytes, alignment)?;
        let part = |tile: super::split::Tile| Part {
            launch: Arc::new(Self {
                count: tile.rows.end - tile.rows.start,
                ..*self
            }),
            ranges: tile.ranges,
        };
        Some(tiles.into_iter().map(part).collect())
    }
}

/// Bits of element `index` as f32.
fn widen(from: FloatType, words: &[u32], index: usize) -> u32 {
    let half = |index: usize| (words[index / 2] >> (16 * (index % 2))) & 0xffff;
    match from {
        FloatType::F32 => words[index],
        FloatType::Bf16 => half(index) << 16,
        FloatType::F16 => {
            let bits = half(index);
            let value = f16::from_bits(bits as u16);
            if value.is_nan() {
                // The conversion of `half` sets the quiet bit, this one changes nothing.
                return (bits & 0x8000) << 16 | 0x7f80_0000 | (bits & 0x3ff) << 13;
            }
            value.to_f32().to_bits()
        }
    }
}

fn to_f16(bits: u32) -> u16 {
    let value = f32::from_bits(bits);
    if value.is_nan() {
        (bits >> 16) as u16 & 0x8000 | 0x7e00
    } else {
        f16::from_f32(value).to_bits()
    }
}

fn to_bf16(bits: u32) -> u16 {
    let value = f32::from_bits(bits);
    if value.is_nan() {
        (bits >> 16) as u16 | 0x40
    } else {
        bf16::from_f32(value).to_bits()
    }
}

fn pack(halves: impl Iterator<Item = u16>) -> Vec<u32> {
    let halves: Vec<u16> = halves.collect();
    let word =
        |pair: &[u16]| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0)) << 16;
    halves.chunks(2).map(word).collect()
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count] = asked.extents("COUNT")?;
    let from = asked.float().unwrap_or(FloatType::F32);
    let to = asked.float().unwrap_or(FloatType::F16);
    Ok(Cast { count, from, to }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "f32, f16 and bf16 into each other, to nearest even",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_a_conversion_to_the_same_type() {
        let cast = Cast {
            count: 4,
            from: FloatType::F16,
            to: FloatType::F16,
        };
        let error = cast.launch().expect_err("nothing to convert");
        assert!(matches!(
            error,
            ShapeError::Unsupported {
                name: "result type",
                ..
            }
        ));
    }

    #[test]
    fn rejects_no_elements() {
        let cast = Cast {
            count: 0,
            from: FloatType::F16,
            to: FloatType::F32,
        };
        assert!(matches!(
            cast.launch(),
            Err(ShapeError::Zero { name: "count", .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        for (from, to) in [
            (FloatType::F32, FloatType::Bf16),
            (FloatType::F16, FloatType::F32),
        ] {
            let launch = Cast {
                count: 1001,
                from,
                to,
            }
            .launch()
            .expect("valid");
            let x = from.pack(&DataKind::Normal.values(1, 1001));
            assert!(check_parts(launch.as_ref(), &[(X, x)], 1024, 256) > 2);
        }
    }
}
