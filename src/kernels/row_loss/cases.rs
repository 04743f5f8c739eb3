//! Cases: every loss over every kind of data and row lengths around the lane counts, labels that are no
//! class, large levels, and the 16-bit types.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;
use crate::shader::Edit;

use super::{FACTOR, Loss, NAME, RowLoss, TARGET, X};

/// Row lengths: one element, around pairs and workgroups, several turns of a workgroup.
const LENGTHS: [u32; 6] = [1, 2, 10, 65, 129, 1000];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let losses = [
        Loss::Labels { smoothing: 0.0 },
        Loss::Labels { smoothing: 0.1 },
        Loss::SoftTargets { smoothing: 0.2 },
        Loss::Distillation { temperature: 4.0 },
        Loss::Squares,
        Loss::BceLogits,
        Loss::Cosine,
    ];
    let mut cases = Vec::new();
    for (index, loss) in losses.into_iter().enumerate() {
        let shape = |rows, columns| RowLoss {
            rows,
            columns,
            loss,
            x: FloatType::F32,
            target: FloatType::F32,
            out: FloatType::F32,
        };
        for (turn, columns) in LENGTHS.into_iter().enumerate() {
            let rows = [3, 65, 1, 130][(index + turn) % 4];
            cases.extend(case(shape(rows, columns), DataKind::Integers, 0.0));
            cases.extend(case(shape(rows, columns), DataKind::Normal, 0.0));
        }
        for data in DataKind::ALL {
            cases.extend(case(shape(5, 77), data, 0.0));
        }
        cases.extend(nan_case(shape(7, 33)));
        for level in [1e4, -1e4] {
            cases.extend(case(shape(4, 33), DataKind::Normal, level));
        }
        for (x, target, out) in [
            (FloatType::F16, FloatType::F16, FloatType::F16),
            (FloatType::F32, FloatType::Bf16, FloatType::F16),
            (FloatType::Bf16, FloatType::F32, FloatType::Bf16),
        ] {
            let shape = RowLoss {
                x,
                target,
                out,
                ..shape(9, 10)
            };
            cases.extend(case(shape, DataKind::Normal, 0.0));
        }
        // Long rows have larger workgroups.
        cases.extend(case(shape(2, 2049), DataKind::Normal, 0.0));
        if effort == Effort::Full {
            cases.extend(case(shape(2, 50_257), DataKind::Normal, 0.0));
            cases.extend(case(shape(70_000, 3), DataKind::Normal, 0.0));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// Rows one of which has an element that is NaN, which neither its loss nor its gradient may lose.
fn nan_case(shape: RowLoss) -> Option<Case> {
    let mut case = case(shape, DataKind::Normal, 0.0)?;
    let (_, x) = case
        .operands
        .iter_mut()
        .find(|(binding, _)| *binding == X)?;
    x[2 * shape.columns as usize + 5] = f32::NAN.to_bits();
    case.name.push_str(" nan");
    Some(case)
}

/// The case with `level` added to every x; `None` only when the shape itself is refused, which the shape
/// tests cover.
fn case(shape: RowLoss, data: DataKind, level: f32) -> Option<Case> {
    let (rows, len) = (
        shape.rows as usize,
        shape.rows as usize * shape.columns as usize,
    );
    let seed = u64::from(shape.rows) << 32 | u64::from(shape.columns);
    let mut x = data.values(seed, len);
    x.iter_mut().for_each(|value| *value += level);
    let mut stream = Philox::new(seed).stream(77);
    let target = if shape.loss.has_labels() {
        // One more than there are classes: some labels are none.
        (0..rows).map(|_| stream.below(shape.columns + 1)).collect()
    } else {
        let kind = match (shape.loss, data) {
            (Loss::Squares | Loss::BceLogits, DataKind::Integers) => DataKind::Integers,
            _ => DataKind::Normal,
        };
        let mut target = kind.values(seed + 1, len);
        match shape.loss {
            Loss::BceLogits => target.iter_mut().for_each(|one| *one = one.abs().min(1.0)),
            Loss::SoftTargets { .. } => target.iter_mut().for_each(|one| *one = one.abs()),
            Loss::Labels { .. } | Loss::Distillation { .. } | Loss::Squares | Loss::Cosine => {}
        }
        shape.target.pack(&target)
    };
    let operands = vec![
        (X, shape.x.pack(&x)),
        (TARGET, target),
        (FACTOR, FloatType::F32.pack(&[0.25])),
    ];
    let case = Case::new(shape.launch().ok()?, operands, data);
    let mut case = match shape.loss {
        // Sums of squares of integers are exact.
        Loss::Squares => case,
        Loss::Labels { .. }
        | Loss::SoftTargets { .. }
        | Loss::Distillation { .. }
        | Loss::BceLogits
        | Loss::Cosine => case.bounded(),
    };
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
        name: "last_column_lost",
        module: NAME,
        find: "column < params.columns; column += LANE_STEP",
        replace: "column + 1u < params.columns; column += LANE_STEP",
    },
    Edit {
        name: "factor_for_the_first_of_a_pair_only",
        module: NAME,
        find: "let right = factor[0] * loss_gradient",
        replace: "let right = loss_gradient",
    },
    Edit {
        name: "label_of_the_first_row",
        module: "loss/labels",
        find: "labels[row]",
        replace: "labels[0]",
    },
    Edit {
        name: "labels_that_are_no_class_have_weight",
        module: "loss/labels",
        find: "select(params.setting, 1.0, label < params.columns)",
        replace: "1.0",
    },
    Edit {
        name: "smoothing_not_spread",
        module: "loss/labels",
        find: "params.setting / f32(params.columns)",
        replace: "0.0",
    },
    Edit {
        name: "soft_targets_taken_to_sum_to_one",
        module: "loss/soft_targets",
        find: "reduce_sum(weight, lane));",
        replace: "1.0 + 0.0 * reduce_sum(weight, lane));",
    },
    Edit {
        name: "largest_not_subtracted",
        module: "row_loss/logits",
        find: "largest = reduce_max(largest, lane);",
        replace: "largest = 0.0 * reduce_max(largest, lane);",
    },
    Edit {
        name: "temperature_not_squared",
        module: "loss/distillation",
        find: "params.setting * params.setting * shares",
        replace: "params.setting * shares",
    },
    Edit {
        name: "divergence_from_the_wrong_side",
        module: "loss/distillation",
        find: "shares(facts, row, column).y * (logs.y - logs.x)",
        replace: "shares(facts, row, column).x * (logs.x - logs.y)",
    },
    Edit {
        name: "square_slope_halved",
        module: "loss/squares",
        find: "2.0 * away",
        replace: "away",
    },
    Edit {
        name: "binary_loss_overflows",
        module: "loss/bce_logits",
        find: "exp(-abs(v))",
        replace: "exp(-v)",
    },
    Edit {
        name: "target_not_brought_to_length_one",
        module: "loss/cosine",
        find: "inverse_length(target_squares)",
        replace: "1.0 + 0.0 * target_squares",
    },
    Edit {
        name: "gradient_along_the_row_kept",
        module: "loss/cosine",
        find: " - units.x * facts.along",
        replace: "",
    },
];
