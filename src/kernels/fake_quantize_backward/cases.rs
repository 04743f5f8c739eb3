//! Cases: those of fake quantization, with gradients that arrive, learned scales and scales that are not.

use crate::kernels::fake_quantize::{operands, shapes};
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{DY, FakeQuantizeBackward, NAME};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = shapes(effort);
    // Long runs have larger workgroups.
    let long = shapes[0];
    shapes.push(super::CodedRuns {
        columns: 2050,
        ..long
    });
    let mut cases = Vec::new();
    for (index, runs) in shapes.into_iter().enumerate() {
        let learned = FakeQuantizeBackward {
            runs,
            slope_factor: Some(0.125),
            x: FloatType::F32,
            dy: FloatType::F32,
            out: FloatType::F32,
        };
        for data in [
            DataKind::Integers,
            DataKind::Normal,
            DataKind::ALL[index % 7],
        ] {
            cases.extend(case(learned, data));
        }
        let plain = FakeQuantizeBackward {
            slope_factor: None,
            ..learned
        };
        cases.extend(case(plain, DataKind::Integers));
        let types = [FloatType::F16, FloatType::Bf16, FloatType::F32];
        let halves = FakeQuantizeBackward {
            x: types[index % 3],
            dy: types[(index + 1) % 3],
            out: types[(index / 3) % 3],
            ..learned
        };
        cases.extend(case(halves, DataKind::Integers));
        cases.extend(case(halves, DataKind::Normal));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// `None` only when the shape itself is refused, which the shape tests cover and 16-bit results of odd runs.
fn case(shape: FakeQuantizeBackward, data: DataKind) -> Option<Case> {
    let mut operands = operands(shape.runs, shape.x, data);
    let arriving = match data {
        DataKind::Integers => DataKind::Integers,
        DataKind::Normal
        | DataKind::Outliers
        | DataKind::Denormals
        | DataKind::Zeros
        | DataKind::OneNonzero
        | DataKind::Cancelling => DataKind::Normal,
    };
    let dy = arriving.values(17, shape.runs.elements() as usize);
    operands.push((DY, shape.dy.pack(&dy)));
    Some(Case::new(shape.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_row_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "nothing_outside",
        module: NAME,
        find: "if (code == clamped)",
        replace: "if (true)",
    },
    Edit {
        name: "zero_point_not_in_the_mask",
        module: NAME,
        find: "steps.nearest + zero",
        replace: "steps.nearest",
    },
    Edit {
        name: "last_of_an_odd_run_twice",
        module: NAME,
        find: "select(0.0, right.slope, second > column)",
        replace: "right.slope",
    },
    Edit {
        name: "slope_of_the_wrong_sign",
        module: "lib/steps",
        find: "select(-rest, i32(denominator) - rest, up)",
        replace: "select(rest, rest - i32(denominator), up)",
    },
    Edit {
        name: "slope_of_small_quotients_lost",
        module: "lib/steps",
        find: "f32(-sign) * (bitcast<f32>(size) / bitcast<f32>(step))",
        replace: "0.0",
    },
    Edit {
        name: "scale_of_the_first_run",
        module: NAME,
        find: "scales[row * params.scale_stride]",
        replace: "scales[0]",
    },
    Edit {
        name: "slope_factor_lost",
        module: "scale_slope/learned",
        find: "params.slope_factor * total",
        replace: "total",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::ShapeError;
    use crate::kernels::parts_test::check_parts;

    #[test]
    fn rejects_odd_16_bit_runs_and_factors_that_are_no_numbers() {
        let shape = FakeQuantizeBackward {
            runs: shapes(Effort::Quick)[4],
            slope_factor: Some(1.0),
            x: FloatType::F32,
            dy: FloatType::F32,
            out: FloatType::F32,
        };
        assert_eq!(shape.runs.columns, 7);
        let out = FloatType::F16;
        let odd = FakeQuantizeBackward { out, ..shape }.launch();
        assert!(matches!(odd, Err(ShapeError::NotMultiple { value: 7, .. })));
        let slope_factor = Some(f32::NAN);
        let launch = FakeQuantizeBackward {
            slope_factor,
            ..shape
        };
        assert!(launch.launch().is_err());
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let runs = super::super::CodedRuns {
            rows: 900,
            ..shapes(Effort::Quick)[6]
        };
        let shape = FakeQuantizeBackward {
            runs,
            slope_factor: Some(0.5),
            x: FloatType::F16,
            dy: FloatType::F32,
            out: FloatType::F32,
        };
        let mut words = operands(runs, shape.x, DataKind::Integers);
        let dy = DataKind::Integers.values(3, runs.elements() as usize);
        words.push((DY, shape.dy.pack(&dy)));
        let launch = shape.launch().expect("valid");
        assert!(check_parts(launch.as_ref(), &words, 16384, 256) > 1);
    }
}
