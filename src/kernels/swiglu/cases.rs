//! Cases: rows around pairs, operands apart and in one, every kind of data and storage type.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{GATE, NAME, Swiglu, VALUE};

const TYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut shapes = vec![(1, 1), (7, 6), (65, 33), (3, 130), (64, 32)];
    if effort == Effort::Full {
        shapes.extend([(70, 1536), (70_000, 3)]);
    }
    for (index, (rows, columns)) in shapes.into_iter().enumerate() {
        for shape in [
            Swiglu::apart(rows, columns, FloatType::F32),
            Swiglu::halves(rows, columns, FloatType::F32),
        ] {
            cases.extend(case(shape, DataKind::Normal));
            cases.extend(case(shape, DataKind::ALL[index % 7]));
            let (gate, value) = (TYPES[index % 3], TYPES[(index + 1) % 3]);
            let mixed = Swiglu {
                gate,
                value,
                ..shape
            };
            cases.extend(case(mixed, DataKind::Normal));
            let out = TYPES[1 + index % 2];
            cases.extend(case(Swiglu { out, ..mixed }, DataKind::Normal));
        }
    }
    for data in DataKind::ALL {
        cases.extend(case(Swiglu::apart(5, 14, FloatType::F32), data));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: Swiglu, data: DataKind) -> Option<Case> {
    let values = |seed: u64, stride: u32| data.values(seed, shape.rows as usize * stride as usize);
    let operands = vec![
        (GATE, shape.gate.pack(&values(1, shape.gate_place.stride))),
        (
            VALUE,
            shape.value.pack(&values(2, shape.value_place.stride)),
        ),
    ];
    Some(Case::new(shape.launch().ok()?, operands, data).bounded())
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "let second = min(column + 1u, params.columns - 1u)",
        replace: "let second = column",
    },
    Edit {
        name: "value_from_the_start_of_its_rows",
        module: NAME,
        find: "load_b_element(params.value_offset + ",
        replace: "load_b_element(",
    },
    Edit {
        name: "gate_without_its_own_factor",
        module: NAME,
        find: "return gate * logistic(gate)",
        replace: "return logistic(gate)",
    },
    Edit {
        name: "strides_swapped",
        module: NAME,
        find: "row * params.gate_stride",
        replace: "row * params.columns",
    },
    Edit {
        name: "logistic_of_the_size",
        module: "lib/logistic",
        find: "return select(1.0, t, v < 0.0) / (1.0 + t);",
        replace: "return 1.0 / (1.0 + t);",
    },
];
