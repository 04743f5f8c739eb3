//! Cases: weights in every type, masks of elements, rows, columns and blocks, and of nothing.

use crate::kernels::mask_data::ScoreKind;
use crate::kernels::{Case, DataKind, Effort, FloatType, MaskShape};
use crate::num::mask::Mask;
use crate::shader::Edit;

use super::{MASK, MaskApply, NAME, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1, 1),
        (3, 5, 1, 1),
        (70, 33, 1, 1),
        (40, 64, 1, 1),
        (21, 45, 8, 1),
        (35, 70, 4, 2),
        (9, 65, 1, 65),
        (33, 40, 33, 1),
    ];
    if effort == Effort::Full {
        shapes.push((1000, 777, 1, 1));
    }
    let mut cases = Vec::new();
    for (turn, shape) in shapes.into_iter().enumerate() {
        for x in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
            cases.extend(case(shape, x, DataKind::Integers));
            cases.extend(case(shape, x, DataKind::ALL[1 + turn % 6]));
        }
    }
    cases
}

/// Weights and a mask of half the units; a mask of none and of all for the smallest and the largest kinds.
pub(super) fn case(
    (n, k, unit_rows, unit_columns): (u32, u32, u32, u32),
    x: FloatType,
    data: DataKind,
) -> Option<Case> {
    let shape = MaskShape {
        n,
        k,
        unit_rows,
        unit_columns,
    };
    let launch = MaskApply { shape, x }.launch().ok()?;
    let [rows, columns] = shape.units();
    let scores = ScoreKind::Tied.words(k.into(), rows as usize * columns as usize);
    let mask = Mask::from_fn(rows as usize, columns as usize, |row, column| {
        data != DataKind::Zeros && scores[row * columns as usize + column] != 0
    });
    let weights = x.pack(&data.values(u64::from(n), n as usize * k as usize));
    let operands = vec![(X, weights), (MASK, mask.words().to_vec())];
    Some(Case::new(launch, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "word * WORD_ELEMENTS >= elements",
        replace: "word * WORD_ELEMENTS > elements",
    },
    Edit {
        name: "kept_and_pruned_swapped",
        module: NAME,
        find: "select(0u, all, ((bits",
        replace: "select(all, 0u, ((bits",
    },
    Edit {
        name: "first_element_of_a_word_only",
        module: NAME,
        find: "<< (part * ELEMENT_BITS)",
        replace: "<< 0u",
    },
    Edit {
        name: "mask_rows_not_padded",
        module: NAME,
        find: "unit_row * params.row_words",
        replace: "(unit_row * params.k) / 32u",
    },
    Edit {
        name: "first_word_of_the_row_only",
        module: NAME,
        find: "+ unit_column / 32u",
        replace: "+ 0u",
    },
    Edit {
        name: "unit_rows_ignored",
        module: NAME,
        find: "(params.first_row + element / params.k) / params.unit_rows",
        replace: "(params.first_row + element / params.k)",
    },
    Edit {
        name: "unit_columns_ignored",
        module: NAME,
        find: "element % params.k / params.unit_columns",
        replace: "element % params.k",
    },
    Edit {
        name: "mask_written_for_weights",
        module: NAME,
        find: "x[word] & keep",
        replace: "keep",
    },
];
