//! Cases: every function on every kind of data, and the 16-bit types on functions in turn.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{ActivationBackward, Curve, DY, NAME, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, curve) in Curve::ALL.into_iter().enumerate() {
        let shape = |count| ActivationBackward {
            count,
            curve,
            x: FloatType::F32,
            dy: FloatType::F32,
            out: FloatType::F32,
        };
        for (turn, data) in DataKind::ALL.into_iter().enumerate() {
            let count = [297, 455, 192, 1, 128][(index + turn) % 5];
            cases.extend(case(shape(count), data));
        }
        cases.extend(case(shape(8001), DataKind::Normal));
        let types = [FloatType::F16, FloatType::Bf16, FloatType::F32];
        let (x, dy, out) = (types[index % 2], types[(index + 1) % 3], types[index % 3]);
        for data in [DataKind::Integers, DataKind::Normal, DataKind::Outliers] {
            let mixed = ActivationBackward {
                x,
                dy,
                out,
                ..shape(333)
            };
            cases.extend(case(mixed, data));
        }
        if effort == Effort::Full {
            cases.extend(case(shape(1 << 18), DataKind::Normal));
        }
    }
    let relu = ActivationBackward {
        count: 4099,
        curve: Curve::Relu,
        x: FloatType::F32,
        dy: FloatType::F16,
        out: FloatType::F16,
    };
    cases.extend(case(relu, DataKind::Integers));
    let leaky = Curve::LeakyRelu { slope: 0.25 };
    let leaky = ActivationBackward {
        curve: leaky,
        ..relu
    };
    cases.extend(case(leaky, DataKind::Normal));
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: ActivationBackward, data: DataKind) -> Option<Case> {
    let len = shape.count as usize;
    let x = shape.x.pack(&data.values(u64::from(shape.count), len));
    // Gradients of moderate size whatever x holds, so that 16-bit results stay finite.
    let kind = match data {
        DataKind::Integers => DataKind::Integers,
        _ => DataKind::Normal,
    };
    let dy = shape.dy.pack(&kind.values(1 + u64::from(shape.count), len));
    let case = Case::new(shape.launch().ok()?, vec![(X, x), (DY, dy)], data);
    Some(if shape.curve.is_exact() {
        case
    } else {
        case.bounded()
    })
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "gradient_for_the_input",
        module: NAME,
        find: "load_b_element(index) * slope_at(",
        replace: "slope_at(",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "second = gradient_bits(index + 1u)",
        replace: "second = gradient_bits(index)",
    },
    Edit {
        name: "relu_passes_at_zero",
        module: "slope/relu",
        find: "v > 0.0",
        replace: "v >= 0.0",
    },
    Edit {
        name: "leak_lost",
        module: "slope/leaky_relu",
        find: "params.alpha",
        replace: "0.0",
    },
    Edit {
        name: "gelu_without_density",
        module: "slope/gelu_erf",
        find: " + 0.3989422804 * near * exp(-0.5 * near * near)",
        replace: "",
    },
    Edit {
        name: "tail_fit_off_in_the_fourth_place",
        module: "lib/normal",
        find: "1.48851587",
        replace: "1.48871587",
    },
    Edit {
        name: "cubic_slope_of_the_function_itself",
        module: "slope/gelu_tanh",
        find: "0.134145",
        replace: "0.044715",
    },
    Edit {
        name: "silu_slope_without_its_second_term",
        module: "slope/silu",
        find: " + v * logistic_slope(v)",
        replace: "",
    },
    Edit {
        name: "tanh_argument_not_doubled",
        module: "slope/tanh",
        find: "logistic_slope(2.0 * v)",
        replace: "logistic_slope(v)",
    },
    Edit {
        name: "logistic_of_the_magnitude",
        module: "lib/logistic",
        find: "select(1.0, t, v < 0.0)",
        replace: "1.0",
    },
    Edit {
        name: "hardswish_saturates_late",
        module: "slope/hardswish",
        find: "v >= 3.0",
        replace: "v > 3.5",
    },
    Edit {
        name: "elu_factor_dropped",
        module: "slope/elu",
        find: "params.alpha * exp",
        replace: "0.5 * exp",
    },
];
