//! Cases: layer, RMS, group and batch normalization over every kind of data, large levels, rows of one
//! element and of equal ones, and the 16-bit types.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{BETA, Center, GAMMA, NAME, Norm, NormShape, RUNNING, Scope, X};

/// Shapes of every scope: one element, odd runs, several turns of a workgroup.
pub(in crate::kernels) fn shapes(effort: Effort) -> Vec<NormShape> {
    let shape = |(items, channels, inner), scope| NormShape {
        items,
        channels,
        inner,
        scope,
    };
    let mut shapes: Vec<NormShape> = [(3, 1), (65, 7), (2, 64), (130, 10), (5, 1001)]
        .map(|(items, channels)| NormShape::rows(items, channels))
        .to_vec();
    shapes.extend([
        shape((3, 6, 5), Scope::Groups(2)),
        shape((2, 4, 49), Scope::Groups(4)),
        shape((5, 3, 7), Scope::Channel),
        shape((9, 70, 1), Scope::Channel),
        shape((2, 4, 66), Scope::Channel),
    ]);
    if effort == Effort::Full {
        shapes.extend([
            NormShape::rows(3, 20_000),
            NormShape::rows(70_000, 3),
            shape((16, 32, 256), Scope::Channel),
        ]);
    }
    shapes
}

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, shape) in shapes(effort).into_iter().enumerate() {
        let layer = Norm {
            shape,
            center: Center::Mean,
            epsilon: 1e-5,
            momentum: None,
            x: FloatType::F32,
            out: FloatType::F32,
        };
        let rms = Norm {
            center: Center::Zero,
            ..layer
        };
        for norm in [layer, rms] {
            cases.extend(case(norm, DataKind::Integers, 0.0));
            cases.extend(case(norm, DataKind::Normal, 0.0));
            cases.extend(case(norm, DataKind::ALL[(index + 2) % 7], 0.0));
        }
        if shape.scope == Scope::Channel {
            let batch = Norm {
                momentum: Some(0.1),
                ..layer
            };
            cases.extend(case(batch, DataKind::Integers, 0.0));
            cases.extend(case(batch, DataKind::Normal, 0.0));
        }
        for (x, out) in [
            (FloatType::F16, FloatType::F16),
            (FloatType::Bf16, FloatType::Bf16),
        ] {
            cases.extend(case(Norm { x, out, ..layer }, DataKind::Normal, 0.0));
        }
    }
    let layer = Norm {
        shape: NormShape::rows(5, 77),
        center: Center::Mean,
        epsilon: 1e-5,
        momentum: None,
        x: FloatType::F32,
        out: FloatType::F32,
    };
    for data in DataKind::ALL {
        cases.extend(case(layer, data, 0.0));
    }
    for level in [1e4, -1e4] {
        cases.extend(case(layer, DataKind::Normal, level));
    }
    // Long rows have larger workgroups.
    let shape = NormShape::rows(2, 2049);
    cases.extend(case(Norm { shape, ..layer }, DataKind::Normal, 0.0));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case with `level` added to every x; `None` only when the shape itself is refused, which the shape
/// tests cover.
fn case(norm: Norm, data: DataKind, level: f32) -> Option<Case> {
    let (len, channels) = (norm.shape.elements() as usize, norm.shape.channels as usize);
    let mut x = data.values(norm.shape.elements(), len);
    x.iter_mut().for_each(|value| *value += level);
    let normal = |seed, len| FloatType::F32.pack(&DataKind::Normal.values(seed, len));
    let mut operands = vec![(X, norm.x.pack(&x)), (GAMMA, normal(1, channels))];
    if norm.center == Center::Mean {
        operands.push((BETA, normal(2, channels)));
    }
    if norm.momentum.is_some() {
        operands.push((RUNNING, normal(3, 2 * channels)));
    }
    let mut case = Case::new(norm.launch().ok()?, operands, data).bounded();
    if level != 0.0 {
        case.name.push_str(&format!(" level={level}"));
    }
    Some(case)
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_row_guard",
        module: NAME,
        find: "row >= params.rows",
        replace: "row > params.rows",
    },
    Edit {
        name: "last_column_not_summed",
        module: "center/mean",
        find: "column < params.columns",
        replace: "column + 1u < params.columns",
    },
    Edit {
        name: "variance_without_bias",
        module: NAME,
        find: "squares / f32(params.columns) +",
        replace: "squares / max(f32(params.columns) - 1.0, 1.0) +",
    },
    Edit {
        name: "epsilon_lost",
        module: NAME,
        find: " + params.epsilon",
        replace: " + 2.0 * params.epsilon",
    },
    Edit {
        name: "factor_of_the_first_channel",
        module: NAME,
        find: "gamma[channel]",
        replace: "gamma[0]",
    },
    Edit {
        name: "addend_of_the_first_channel",
        module: "center/mean",
        find: "beta[channel]",
        replace: "beta[0]",
    },
    Edit {
        name: "every_group_has_the_first_channels",
        module: "place/group",
        find: "(row % params.groups) * params.group_channels +",
        replace: "0u +",
    },
    Edit {
        name: "channels_of_the_first_item",
        module: "place/channel",
        find: "(item * params.rows + row)",
        replace: "row",
    },
    Edit {
        name: "running_variance_with_bias",
        module: "running/update",
        find: "f32(params.columns - 1u)",
        replace: "f32(params.columns)",
    },
    Edit {
        name: "momentum_on_the_wrong_side",
        module: "running/update",
        find: "kept * running[2u * row] + params.momentum * mean",
        replace: "params.momentum * running[2u * row] + kept * mean",
    },
    Edit {
        name: "runs_stored_as_neighbours",
        module: "norm/store",
        find: "element_index(row, column + 1u), 0u, 1u",
        replace: "at + 1u, 0u, 1u",
    },
];
