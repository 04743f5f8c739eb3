//! What will happen to each layer of a network, before anything is touched.
//!
//! A layer is left alone when its name matches a pattern of the keep-list. One that does not fit the scheme
//! (its group does not divide the input features, or is no whole number of packed words) follows the misfit
//! policy. Each answer carries its reason.

use super::codebook::Codebook;
use super::linear::Linear;
use crate::compress::CompressError;
use crate::num::{Granularity, QuantError, Width, Zero};

/// What becomes of a layer that does not fit the scheme.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misfit {
    /// Nothing is planned; the error names the layer and the fix.
    #[default]
    Error,
    /// The largest group that fits, no larger than the one asked for; where none does, the layer is an
    /// error all the same.
    SmallerGroup,
    /// int8 with a scale for each channel, which fits every layer.
    Int8,
}

/// A layer's weights as planning sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer<'a> {
    /// Name of the tensor.
    pub name: &'a str,
    /// Output features.
    pub n: usize,
    /// Input features.
    pub k: usize,
}

/// What a layer becomes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// It stays as it is.
    Keep,
    /// It is quantized.
    Quantize(Linear),
    /// It gets codes of levels of a table.
    Levels(Codebook, Granularity),
}

/// A layer's part of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Name of the tensor.
    pub name: String,
    /// What it becomes.
    pub action: Action,
    /// Why, as a sentence without a full stop.
    pub reason: String,
    /// Bytes of codes packed at their own width, scales and zero points; 4 a weight for one that is kept.
    pub bytes: u64,
}

/// Plans every layer.
///
/// # Errors
/// [`CompressError`] naming the layer: no elements, a scheme out of range, and a layer that does not fit
/// where the policy says error or knows no way. [`CompressError::Misfit`] names the fix.
pub fn plan(
    layers: &[Layer<'_>],
    scheme: &Linear,
    keep: &[&str],
    misfit: Misfit,
) -> Result<Vec<Planned>, CompressError> {
    layers
        .iter()
        .map(|layer| plan_layer(layer, scheme, keep, misfit))
        .collect()
}

fn plan_layer(
    layer: &Layer<'_>,
    scheme: &Linear,
    keep: &[&str],
    misfit: Misfit,
) -> Result<Planned, CompressError> {
    let Layer { name, n, k } = *layer;
    scheme.range.check(name)?;
    if n == 0 || k == 0 {
        let tensor = name.to_owned();
        return Err(QuantError::Empty { tensor, n, k }.into());
    }
    let planned = |action, reason| Planned {
        name: name.to_owned(),
        action,
        reason,
        bytes: bytes(n, k, action),
    };
    if let Some(pattern) = keep.iter().find(|pattern| matches_pattern(pattern, name)) {
        let reason = format!("kept: its name matches `{pattern}`");
        return Ok(planned(Action::Keep, reason));
    }
    let problem = match scheme.group_size(name, k) {
        Ok(_) => {
            return Ok(planned(
                Action::Quantize(*scheme),
                format!("{scheme} as asked"),
            ));
        }
        Err(CompressError::Quant(QuantError::KNotMultipleOfGroup { group_size, .. })) => {
            format!("k = {k} is not a multiple of group_size {group_size}")
        }
        Err(CompressError::Quant(QuantError::GroupSize {
            group_size,
            multiple,
            ..
        })) => {
            format!("group_size {group_size} is not a positive multiple of {multiple}")
        }
        Err(other) => return Err(other),
    };
    let smaller = smaller_group(scheme, k);
    match (misfit, smaller) {
        (Misfit::Int8, _) => {
            let int8 = Linear {
                range: scheme.range,
                ..Linear::symmetric(Width::Int8, Granularity::Channel)
            };
            let reason = format!("{int8} instead of {scheme}: {problem}");
            Ok(planned(Action::Quantize(int8), reason))
        }
        (Misfit::SmallerGroup, Some(smaller)) => {
            let reason = format!("{smaller} instead of {scheme}: {problem}");
            Ok(planned(Action::Quantize(smaller), reason))
        }
        (Misfit::SmallerGroup, None) | (Misfit::Error, _) => Err(CompressError::Misfit {
            tensor: name.to_owned(),
            problem,
            fix: match smaller {
                Some(smaller) => format!(
                    "use {smaller}, set the misfit policy to smaller-group or int8, or keep the layer"
                ),
                None => {
                    "no group fits: use channels, set the misfit policy to int8, or keep the layer"
                        .to_owned()
                }
            },
        }),
    }
}

/// The scheme with the largest group that fits `k` columns and is no larger than the one asked for.
fn smaller_group(scheme: &Linear, k: usize) -> Option<Linear> {
    let Granularity::Group(asked) = scheme.granularity else {
        return None;
    };
    let multiple = scheme.width.container().per_word();
    let largest = (asked as usize).min(k) / multiple * multiple;
    let size = (multiple..=largest)
        .rev()
        .step_by(multiple)
        .find(|&size| k.is_multiple_of(size))?;
    Some(Linear {
        granularity: Granularity::Group(u32::try_from(size).ok()?),
        ..*scheme
    })
}

/// Bytes of a layer in a file: `int-quantized` at 8 bits, else `pack-quantized`, whose rows are whole words.
fn bytes(n: usize, k: usize, action: Action) -> u64 {
    let (rows, k) = (n as u64, k as u64);
    let weights = rows.saturating_mul(k);
    match action {
        Action::Keep | Action::Levels(..) => weights.saturating_mul(4),
        Action::Quantize(linear) => {
            let has_zeros = linear.rule.zero() != Zero::Symmetric;
            code_bytes([n, k as usize], &linear, has_zeros.then_some(linear.width))
        }
    }
}

/// Bytes in a file of the codes that HQQ finds for a weight `[n, k]`: with zero points whatever the scheme says, and of
/// the width of what kernels read where they are finer than the codes.
pub(crate) fn hqq_bytes(extents: [usize; 2], linear: &Linear) -> u64 {
    let zeros = match linear.width.widest_spacing() {
        1 => linear.width,
        _ => Width::of(linear.width.container()),
    };
    // It has scales of its own type, too.
    let own = Linear::asymmetric(linear.width, linear.granularity);
    code_bytes(extents, &own, Some(zeros))
}

/// Bytes in a file of the codes of a weight `[n, k]`, with zero points of a width if there are any.
fn code_bytes([n, k]: [usize; 2], linear: &Linear, zeros: Option<Width>) -> u64 {
    let (rows, k) = (n as u64, k as u64);
    let (scale_rows, groups) = match linear.granularity {
        Granularity::Tensor => (1, 1),
        Granularity::Channel => (rows, 1),
        Granularity::Group(size) => (rows, k / u64::from(size.max(1))),
    };
    let is_packed = linear.width != Width::Int8;
    // A word holds codes of a row, or zero points of a column.
    let packed = |width: Width, extent: u64, by: u64| match is_packed {
        true => extent
            .div_ceil(width.per_word() as u64)
            .saturating_mul(by)
            .saturating_mul(4),
        false => extent.saturating_mul(by),
    };
    let zeros = zeros.map_or(0, |width| packed(width, scale_rows, groups));
    let scales = scale_rows
        .saturating_mul(groups)
        .saturating_mul(u64::from(linear.scale_type.bits() / 8));
    let extents = if is_packed { 16 } else { 0 };
    [scales, zeros, extents]
        .iter()
        .fold(packed(linear.width, k, rows), |sum, &part| {
            sum.saturating_add(part)
        })
}

/// Whether a name matches a pattern: `*` stands for any characters, also none, `?` for one; everything else
/// for itself.
#[must_use]
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where the last star stands, and how much of the name it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while place < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, place));
                at += 1;
            }
            Some(&one) if one == '?' || one == name[place] => {
                at += 1;
                place += 1;
            }
            Some(_) | None => {
                let Some((star_at, taken)) = star else {
                    return false;
                };
                star = Some((star_at, taken + 1));
                (at, place) = (star_at + 1, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|&one| one == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compress::Weights;
    use crate::compress::quantize::{Hqq, LinearMatrix, RangeChoice, hqq, round_to_nearest};
    use crate::io::compressed_tensors::codes::{CodesFormat, WeightArgs, code_parts};

    const LAYERS: [Layer<'static>; 3] = [
        Layer {
            name: "fc1.weight",
            n: 128,
            k: 784,
        },
        Layer {
            name: "fc2.weight",
            n: 64,
            k: 128,
        },
        Layer {
            name: "head.weight",
            n: 10,
            k: 36,
        },
    ];

    const INT4: Linear = Linear::symmetric(Width::Int4, Granularity::Group(32));

    #[test]
    fn a_plan_says_what_happens_to_each_layer_and_why() {
        let planned = plan(&LAYERS, &INT4, &["head.*"], Misfit::SmallerGroup).unwrap();
        let lines: Vec<(&str, &str)> = planned
            .iter()
            .map(|layer| (layer.name.as_str(), layer.reason.as_str()))
            .collect();
        let expected = [
            (
                "fc1.weight",
                "int4-g16 instead of int4-g32: k = 784 is not a multiple of group_size 32",
            ),
            ("fc2.weight", "int4-g32 as asked"),
            ("head.weight", "kept: its name matches `head.*`"),
        ];
        assert_eq!(lines, expected);
        assert_eq!(planned[2].action, Action::Keep);
        assert_eq!(planned[2].bytes, 4 * 360);
        // Half a byte a weight, 2 bytes a group, and the extents.
        assert_eq!(planned[1].bytes, 64 * 128 / 2 + 64 * 4 * 2 + 16);
    }

    #[test]
    fn a_misfit_is_an_error_that_names_the_fix() {
        let error = plan(&LAYERS, &INT4, &[], Misfit::Error)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "fc1.weight: k = 784 is not a multiple of group_size 32; use int4-g16, set the misfit policy \
             to smaller-group or int8, or keep the layer"
        );
        // 36 is no multiple of 8, so no int4 group fits.
        let error = plan(&LAYERS[2..], &INT4, &[], Misfit::SmallerGroup).unwrap_err();
        assert!(
            error.to_string().contains("no group fits: use channels"),
            "{error}"
        );
    }

    /// Bytes of the parts of a matrix in a file.
    fn in_file(weights: &Weights<'_>, linear: &Linear) -> u64 {
        let made = round_to_nearest(weights, linear).unwrap();
        bytes_of(&made, linear.width)
    }

    fn bytes_of(made: &LinearMatrix, width: Width) -> u64 {
        let args = WeightArgs::narrow(made.matrix().format(), made.width(), made.spacing());
        let format = CodesFormat::of(width);
        let parts = code_parts("w", (made.matrix(), &args), format).unwrap();
        parts
            .iter()
            .map(|(_, part)| part.bytes().len() as u64)
            .sum()
    }

    #[test]
    fn bytes_are_those_of_the_file_at_every_width() {
        let (n, k) = (9, 72);
        let values: Vec<f32> = (0..n * k).map(|i| (i % 13) as f32 - 5.0).collect();
        let weights = Weights::new("w", n, k, &values).unwrap();
        let layer = Layer { name: "w", n, k };
        for width in Width::ALL {
            for granularity in [
                Granularity::Tensor,
                Granularity::Channel,
                Granularity::Group(24),
            ] {
                for scheme in [
                    Linear::symmetric(width, granularity),
                    Linear::asymmetric(width, granularity),
                ] {
                    let planned = plan(&[layer], &scheme, &[], Misfit::Error).unwrap();
                    let expected = in_file(&weights, &scheme);
                    assert_eq!(planned[0].bytes, expected, "{scheme}");
                }
            }
        }
    }

    #[test]
    fn bytes_of_hqq_are_those_of_the_file_with_its_zero_points() {
        let (n, k) = (9, 72);
        let values: Vec<f32> = (0..n * k).map(|i| (i % 13) as f32 - 5.0).collect();
        let weights = Weights::new("w", n, k, &values).unwrap();
        for width in Width::ALL {
            for granularity in [Granularity::Channel, Granularity::Group(24)] {
                let made = hqq(&weights, width, granularity, &Hqq::default()).unwrap();
                for scheme in [
                    Linear::symmetric(width, granularity),
                    Linear::asymmetric(width, granularity),
                ] {
                    let planned = hqq_bytes([n, k], &scheme);
                    assert_eq!(planned, bytes_of(&made, width), "{scheme}");
                }
            }
        }
    }

    #[test]
    fn every_layer_fits_int8_channels_and_what_is_planned_can_be_done() {
        let scheme = Linear {
            range: RangeChoice::MSE,
            ..INT4
        };
        let planned = plan(&LAYERS, &scheme, &[], Misfit::Int8).unwrap();
        for (layer, planned) in LAYERS.iter().zip(&planned) {
            let Action::Quantize(linear) = planned.action else {
                panic!("{planned:?}")
            };
            let values: Vec<f32> = (0..layer.n * layer.k)
                .map(|i| (i % 17) as f32 - 8.0)
                .collect();
            let weights = Weights::new(layer.name, layer.n, layer.k, &values).unwrap();
            round_to_nearest(&weights, &linear).unwrap();
            assert_eq!(planned.bytes, in_file(&weights, &linear));
        }
        assert_eq!(
            planned[2].reason,
            "int8-channel instead of int4-g32: k = 36 is not a multiple of group_size 32"
        );
    }

    #[test]
    fn a_group_that_is_no_whole_number_of_words_is_a_misfit_too() {
        let odd = Linear::symmetric(Width::Int2, Granularity::Group(20));
        let planned = plan(&LAYERS[1..2], &odd, &[], Misfit::SmallerGroup).unwrap();
        assert_eq!(
            planned[0].reason,
            "int2-g16 instead of int2-g20: group_size 20 is not a positive multiple of 8"
        );
        let none = Linear::symmetric(Width::Int2, Granularity::Group(0));
        assert!(plan(&LAYERS, &none, &[], Misfit::SmallerGroup).is_err());
        let empty = Layer {
            name: "w",
            n: 0,
            k: 8,
        };
        assert!(plan(&[empty], &INT4, &[], Misfit::Int8).is_err());
    }

    #[test]
    fn bytes_of_extents_past_what_can_be_numbered_are_the_most() {
        let large = Layer {
            name: "w",
            n: 1 << 62,
            k: 1 << 62,
        };
        let int8 = Linear::symmetric(Width::Int8, Granularity::Group(32));
        for scheme in [
            INT4,
            int8,
            Linear::asymmetric(Width::Int3, Granularity::Channel),
        ] {
            let planned = plan(&[large], &scheme, &[], Misfit::Error).unwrap();
            assert_eq!(planned[0].bytes, u64::MAX, "{scheme}");
        }
    }

    #[test]
    fn stars_and_question_marks_match_as_in_file_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("fc1.weight", "fc1.weight", true),
            ("fc?.weight", "fc12.weight", false),
            ("*.weight", "block.0.fc.weight", true),
            ("*head*", "lm_head.weight", true),
            ("block.*.fc", "block.0.1.fc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("", "w", false),
            ("w**", "w", true),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
