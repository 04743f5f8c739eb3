//! Cases: every rule, width and scale type over every kind of data, and rows whose quotients need rounding up,
//! down and past a power of two.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;
use crate::num::quant::{CodeRange, ScaleRule, ScaleType};
use crate::shader::Edit;

use super::{NAME, QuantScales, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut extents = vec![(1, 1), (65, 7), (300, 8), (5, 130), (1, 2500)];
    if effort == Effort::Full {
        extents.extend([(20_000, 8), (3, 70_001)]);
    }
    let rules = [
        ScaleRule::RestrictedAbsMax,
        ScaleRule::FullRangeAbsMax,
        ScaleRule::SignedAbsMax,
    ];
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, (rows, columns)) in extents.into_iter().enumerate() {
        for bits in [2, 3, 4, 8] {
            let range =
                CodeRange::of_bits(bits).unwrap_or(CodeRange::stored_as(crate::num::Bits::Int8));
            for (turn, rule) in rules.into_iter().enumerate() {
                let scale_type = [ScaleType::F32, ScaleType::F16][(index + bits as usize) % 2];
                let shape = QuantScales {
                    rows,
                    columns,
                    x: types[(index + turn) % 3],
                    range,
                    rule,
                    scale_type,
                };
                cases.extend(case(shape, DataKind::Integers));
                let other = QuantScales {
                    x: FloatType::F32,
                    scale_type: [ScaleType::F16, ScaleType::F32][(index + bits as usize) % 2],
                    ..shape
                };
                cases.extend(case(other, DataKind::Normal));
                cases.extend(case(
                    other,
                    DataKind::ALL[(index + turn + bits as usize) % 7],
                ));
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: QuantScales, data: DataKind) -> Option<Case> {
    let seed = u64::from(shape.rows) << 32 | u64::from(shape.columns);
    let mut x = data.values(seed, shape.rows as usize * shape.columns as usize);
    let mut stream = Philox::new(seed).stream(5);
    if data == DataKind::Normal {
        // Every power of two, so that some scales are below the floor and some above f16.
        for row in x.chunks_mut(shape.columns as usize) {
            let power = 2f32.powi(stream.integer(-130..=120));
            row.iter_mut().for_each(|value| *value *= power);
        }
    }
    Some(Case::new(
        shape.launch().ok()?,
        vec![(X, shape.x.pack(&x))],
        data,
    ))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_row_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "largest_with_its_sign",
        module: NAME,
        find: "load_bits(start + column) & 0x7fffffffu",
        replace: "load_bits(start + column)",
    },
    Edit {
        name: "last_column_not_seen",
        module: NAME,
        find: "column < params.columns",
        replace: "column + 1u < params.columns",
    },
    Edit {
        name: "quotient_cut_off",
        module: NAME,
        find: "select(0u, 1u, up)",
        replace: "select(0u, 0u, up)",
    },
    Edit {
        name: "remainder_forgotten",
        module: NAME,
        find: "* params.divisor + rest)",
        replace: "* params.divisor)",
    },
    Edit {
        name: "no_floor",
        module: NAME,
        find: "if (exponent < 1)",
        replace: "if (exponent < -300)",
    },
    Edit {
        name: "no_ceiling",
        module: NAME,
        find: "bits > params.ceiling_bits",
        replace: "false",
    },
    Edit {
        name: "last_largest_instead_of_the_first",
        module: "scale_sign/of_largest",
        find: "select(0u, ~column, is_largest)",
        replace: "select(0u, ~column, is_largest && column + 1u == params.columns)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ShapeError;
    use crate::kernels::parts_test::check_parts;

    const SHAPE: QuantScales = QuantScales {
        rows: 700,
        columns: 6,
        x: FloatType::F32,
        range: CodeRange::stored_as(crate::num::Bits::Int4),
        rule: ScaleRule::SignedAbsMax,
        scale_type: ScaleType::F16,
    };

    #[test]
    fn rejects_the_rule_of_both_ends_and_rows_too_long_for_a_workgroup() {
        let rule = ScaleRule::MinMax;
        let launch = QuantScales { rule, ..SHAPE }.launch();
        assert!(matches!(
            launch,
            Err(ShapeError::Unsupported {
                name: "scale rule",
                ..
            })
        ));
        let (rows, columns) = (1, 65_535 * 256 + 1);
        let long = QuantScales {
            rows,
            columns,
            ..SHAPE
        };
        assert!(matches!(long.launch(), Err(ShapeError::TooLarge { .. })));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let x = FloatType::F32.pack(&DataKind::Normal.values(1, 4200));
        let launch = SHAPE.launch().expect("valid");
        assert!(check_parts(launch.as_ref(), &[(X, x)], 4096, 256) > 3);
    }
}
