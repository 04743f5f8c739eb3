//! Schemes by name: `int4-g32`, `int4-g64-zp`, `w8a8`, `w4a16-g64`, `nf4`.
//!
//! A name is words between hyphens. The first says the codes: `int8`, `int6`, `int4`, `int3`, `int2`, `nf4`,
//! `log8`, `log4`, or `wBaB` with the bits of weights and activations (16 for float ones). The others, in any order:
//! `tensor`, `channel` or `gN` for what shares a scale; `zp` for zero points, `narrow` for symmetric codes
//! without the smallest; `mse`, `kl` or `pS`, with a share S of the magnitudes, for ranges that leave outliers out; `f32` or `f16` for how scales are
//! stored. int8 has a scale for each channel, the others for each group of 32, unless the name says otherwise.

use std::fmt;
use std::str::FromStr;

use crate::compress::model::Activations;
use crate::compress::quantize::{Codebook, Linear, LogWidth, RangeChoice, Width};
use crate::num::{Granularity, ScaleRule, ScaleType};

use super::super::StageError;

/// Group of schemes that do not name one.
const GROUP: u32 = 32;

/// Names that errors suggest.
const KNOWN: [&str; 24] = [
    "int8",
    "int8-channel",
    "int8-tensor",
    "int8-g32",
    "int8-zp",
    "int6-channel",
    "int6-g32",
    "int4-channel",
    "int4-g32",
    "int4-g64",
    "int4-g128",
    "int4-g64-zp",
    "int6-g32-zp",
    "int3-g32",
    "int2-g16",
    "int2-g16-zp",
    "w8a8",
    "w8a16",
    "w4a16-g64",
    "w4a8-g32",
    "w4a8-g64",
    "nf4",
    "log8",
    "log4",
];

/// What weights become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Codes {
    /// Integers times a scale.
    Linear(Linear),
    /// Levels of a table times a scale. No kernel reads these codes: the values are given to a device.
    Levels(Codebook, Granularity),
}

/// How activations are to meet the weights: where their scales come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ActivationScheme {
    /// As they come: float, or in int8 with scales of their own.
    AsTheyCome(Activations),
    /// In int8 with one scale for all inputs of a layer, found over the samples that calibrate: the range so chosen of
    /// what the layer is given in the network as it is stored.
    Static(RangeChoice),
}

impl ActivationScheme {
    /// Float.
    pub const FLOAT: Self = Self::AsTheyCome(Activations::Float);

    /// How they meet a weight before a scale has been found.
    pub const fn as_they_come(self) -> Activations {
        match self {
            Self::AsTheyCome(activations) => activations,
            Self::Static(_) => Activations::Float,
        }
    }
}

/// `float`, `int8`, `int8-gN`, `int8-static`, and behind the last `-mse`, `-kl` or `-pS` with a share S.
impl FromStr for ActivationScheme {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let found = match text {
            "float" => Some(Self::FLOAT),
            "int8" => Some(Self::AsTheyCome(Activations::Int8PerRow)),
            "int8-g32" => Some(Self::AsTheyCome(Activations::Int8PerBlock(32))),
            "int8-g64" => Some(Self::AsTheyCome(Activations::Int8PerBlock(64))),
            "int8-static" => Some(Self::Static(RangeChoice::MinMax)),
            _ => text
                .strip_prefix("int8-static-")
                .and_then(range_of)
                .map(Self::Static),
        };
        found.ok_or_else(|| StageError::Setting {
            what: "activations".to_owned(),
            given: text.to_owned(),
            allowed: "float, int8, int8-g32, int8-g64, int8-static, and behind that -mse, -kl or -pS with a share S as \
                      p0.999"
                .to_owned(),
        })
    }
}

impl fmt::Display for ActivationScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AsTheyCome(Activations::Float) => f.write_str("float"),
            Self::AsTheyCome(Activations::Int8PerRow) => f.write_str("int8"),
            Self::AsTheyCome(Activations::Int8PerBlock(size)) => write!(f, "int8-g{size}"),
            Self::AsTheyCome(Activations::Int8Static(scale)) => {
                write!(f, "int8-static, scale {:e}", scale.get())
            }
            Self::Static(range) => write!(f, "int8-static{}", suffix(*range)),
        }
    }
}

/// The words of ranges without outliers.
fn range_of(word: &str) -> Option<RangeChoice> {
    match word {
        "mse" => Some(RangeChoice::MSE),
        "kl" => Some(RangeChoice::Kl),
        _ => {
            let share: f64 = word.strip_prefix('p')?.parse().ok()?;
            (share > 0.0 && share <= 1.0).then_some(RangeChoice::Percentile(share))
        }
    }
}

/// The same with the hyphen before it; nothing for the full range.
fn suffix(range: RangeChoice) -> String {
    match range {
        RangeChoice::MinMax => String::new(),
        RangeChoice::Mse { .. } => "-mse".to_owned(),
        RangeChoice::Kl => "-kl".to_owned(),
        RangeChoice::Percentile(share) => format!("-p{share}"),
    }
}

/// What weights become, and how activations meet them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizeScheme {
    /// The weights.
    pub codes: Codes,
    /// The activations.
    pub activations: ActivationScheme,
}

impl QuantizeScheme {
    /// Linear codes met by activations as they are.
    pub const fn linear(linear: Linear) -> Self {
        Self {
            codes: Codes::Linear(linear),
            activations: ActivationScheme::FLOAT,
        }
    }

    /// Codes of levels.
    pub const fn levels(codebook: Codebook, granularity: Granularity) -> Self {
        Self {
            codes: Codes::Levels(codebook, granularity),
            activations: ActivationScheme::FLOAT,
        }
    }

    /// The linear codes, if they are.
    pub const fn as_linear(&self) -> Option<&Linear> {
        match &self.codes {
            Codes::Linear(linear) => Some(linear),
            Codes::Levels(..) => None,
        }
    }
}

impl fmt::Display for QuantizeScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.codes {
            Codes::Linear(linear) => {
                write!(f, "{linear}")?;
                if linear.rule == ScaleRule::RestrictedAbsMax && linear.width != Width::Int8 {
                    f.write_str("-narrow")?;
                }
                f.write_str(&suffix(linear.range))?;
            }
            Codes::Levels(codebook, granularity) => {
                write!(f, "{codebook}")?;
                match granularity {
                    Granularity::Tensor => f.write_str("-tensor")?,
                    Granularity::Channel => f.write_str("-channel")?,
                    Granularity::Group(size) => write!(f, "-g{size}")?,
                }
            }
        }
        match self.activations {
            ActivationScheme::FLOAT => Ok(()),
            activations => write!(f, " x {activations}"),
        }
    }
}

impl FromStr for QuantizeScheme {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        parse(text).ok_or_else(|| StageError::Setting {
            what: "scheme".to_owned(),
            given: text.to_owned(),
            allowed: format!(
                "int8, int6, int4, int3, int2, nf4, log8, log4 or wBaB, then -tensor, -channel or -gN, -zp or \
                 -narrow, -mse, -kl or -pS with a share S as p0.999, -f16 or -f32; the nearest is {}",
                nearest(text)
            ),
        })
    }
}

/// How the first word names codes.
#[derive(Clone, Copy)]
enum First {
    Linear(Width),
    Levels(Codebook),
}

fn parse(text: &str) -> Option<QuantizeScheme> {
    let mut words = text.split('-');
    let (first, activations) = first(words.next()?)?;
    let mut granularity = match first {
        First::Linear(Width::Int8) | First::Levels(Codebook::Log2(_)) => Granularity::Channel,
        First::Linear(Width::Int6 | Width::Int4 | Width::Int3 | Width::Int2)
        | First::Levels(Codebook::Nf4) => Granularity::Group(GROUP),
    };
    let (mut rule, mut range, mut scale_type) = (None, None, None);
    let mut is_named = false;
    let once = |is_taken: bool| (!is_taken).then_some(());
    for word in words {
        let share = match word {
            "tensor" => Some(Granularity::Tensor),
            "channel" => Some(Granularity::Channel),
            _ => match word.strip_prefix('g').map(str::parse::<u32>) {
                Some(Ok(size)) if size > 0 => Some(Granularity::Group(size)),
                Some(_) | None => None,
            },
        };
        if let Some(share) = share {
            once(is_named)?;
            (granularity, is_named) = (share, true);
            continue;
        }
        match word {
            "zp" | "narrow" => {
                once(rule.is_some())?;
                rule = Some(if word == "zp" {
                    ScaleRule::MinMax
                } else {
                    ScaleRule::RestrictedAbsMax
                });
            }
            "f16" | "f32" => {
                once(scale_type.is_some())?;
                scale_type = Some(if word == "f16" {
                    ScaleType::F16
                } else {
                    ScaleType::F32
                });
            }
            _ => {
                once(range.is_some())?;
                range = Some(range_of(word)?);
            }
        }
    }
    let codes = match first {
        First::Levels(codebook) => {
            if rule.is_some() || range.is_some() || scale_type.is_some() {
                return None;
            }
            Codes::Levels(codebook, granularity)
        }
        First::Linear(width) => {
            let usual = Linear::symmetric(width, granularity);
            Codes::Linear(Linear {
                rule: rule.unwrap_or(usual.rule),
                range: range.unwrap_or(usual.range),
                scale_type: scale_type.unwrap_or(usual.scale_type),
                ..usual
            })
        }
    };
    Some(QuantizeScheme {
        codes,
        activations: ActivationScheme::AsTheyCome(activations),
    })
}

fn first(word: &str) -> Option<(First, Activations)> {
    let width = |bits: &str| {
        Width::ALL
            .into_iter()
            .find(|width| width.bits().to_string() == bits)
    };
    let levels = match word {
        "nf4" => Some(Codebook::Nf4),
        "log8" => Some(Codebook::Log2(LogWidth::Eight)),
        "log4" => Some(Codebook::Log2(LogWidth::Four)),
        _ => None,
    };
    if let Some(codebook) = levels {
        return Some((First::Levels(codebook), Activations::Float));
    }
    if let Some(bits) = word.strip_prefix("int") {
        return Some((First::Linear(width(bits)?), Activations::Float));
    }
    let (weights, activations) = word.strip_prefix('w')?.split_once('a')?;
    let activations = match activations {
        "8" => Activations::Int8PerRow,
        "16" => Activations::Float,
        _ => return None,
    };
    Some((First::Linear(width(weights)?), activations))
}

/// The known name with the fewest edits to a text.
fn nearest(text: &str) -> &'static str {
    let distance = |name: &str| edits(name.as_bytes(), text.as_bytes());
    KNOWN
        .into_iter()
        .min_by_key(|name| distance(name))
        .unwrap_or("int8")
}

/// Levenshtein's distance; long texts are cut, which changes no ranking worth having.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let b = &b[..b.len().min(64)];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &one) in a.iter().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, &other) in b.iter().enumerate() {
            let replaced = before + usize::from(one != other);
            before = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_shown() {
        for (name, shown) in [
            ("int8", "int8-channel"),
            ("int8-channel", "int8-channel"),
            ("int8-tensor", "int8-tensor"),
            ("int4-g32", "int4-g32"),
            ("int4", "int4-g32"),
            ("int4-g64-zp", "int4-g64-zp"),
            ("int4-zp-g64-mse", "int4-g64-zp-mse"),
            ("int4-narrow", "int4-g32-narrow"),
            ("int4-p0.999", "int4-g32-p0.999"),
            ("int8-tensor-p1", "int8-tensor-p1"),
            ("int6", "int6-g32"),
            ("int6-channel", "int6-channel"),
            ("int6-g32-zp", "int6-g32-zp"),
            ("w6a16", "int6-g32"),
            ("int3-g32", "int3-g32"),
            ("int2-g16-zp", "int2-g16-zp"),
            ("w8a8", "int8-channel x int8"),
            ("w4a16-g64", "int4-g64"),
            ("w4a8-g32", "int4-g32 x int8"),
            ("nf4", "nf4-g32"),
            ("log8", "log8-channel"),
            ("log4-g16", "log4-g16"),
        ] {
            let scheme: QuantizeScheme = name.parse().unwrap();
            assert_eq!(scheme.to_string(), shown, "{name}");
        }
        for name in KNOWN {
            assert!(name.parse::<QuantizeScheme>().is_ok(), "{name}");
        }
    }

    #[test]
    fn activations_are_read_and_shown_by_the_same_words() {
        for name in [
            "float",
            "int8",
            "int8-g32",
            "int8-g64",
            "int8-static",
            "int8-static-mse",
            "int8-static-kl",
            "int8-static-p0.9995",
        ] {
            let activations: ActivationScheme = name.parse().unwrap();
            assert_eq!(activations.to_string(), name);
        }
        for bad in [
            "",
            "int8-",
            "int8-static-",
            "int8-static-p0",
            "int8-static-p1.1",
            "int4",
            "static",
        ] {
            let error = bad.parse::<ActivationScheme>().unwrap_err().to_string();
            assert!(
                error.contains("allowed: float, int8, int8-g32"),
                "{bad}: {error}"
            );
        }
        let scheme = QuantizeScheme {
            activations: ActivationScheme::Static(RangeChoice::Kl),
            .."w8a8".parse().unwrap()
        };
        assert_eq!(scheme.to_string(), "int8-channel x int8-static-kl");
    }

    #[test]
    fn other_names_are_refused_with_the_nearest() {
        for (name, near) in [
            ("", "nf4"),
            ("int5-g32", "int8-g32"),
            ("int4-g", "int4-g32"),
            ("int4-g0", "int4-g32"),
            ("int4-g32-g64", "int4-g32"),
            ("w8a4", "w8a8"),
            ("nf4-zp", "int8-zp"),
            ("w4a8-32", "w4a8-g32"),
            ("int4-g32-p0", "int4-g32"),
            ("int4-g32-pnan", "int4-g32"),
        ] {
            let error = name.parse::<QuantizeScheme>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("the nearest is {near}")),
                "{name}: {error}"
            );
        }
    }
}
