//! Cases: odd widths, rows without tokens and with many, indices past the table, every storage type.

use crate::kernels::embedding::indices;
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{DY, EmbeddingBackward, INDICES, NAME, WORKGROUP};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1),
        (21, 6, 20),
        (130, 33, 10),
        (200, 65, 3),
        (64, 130, 66),
        (9, 16, 200),
    ];
    if effort == Effort::Full {
        shapes.extend([(512, 64, 3000), (20, 3, 70_000)]);
    }
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, (tokens, width, vocabulary)) in shapes.into_iter().enumerate() {
        for (turn, dy) in types.into_iter().enumerate() {
            let shape = EmbeddingBackward {
                tokens,
                width,
                vocabulary,
                dy,
            };
            cases.extend(case(shape, DataKind::Integers));
            cases.extend(case(shape, DataKind::ALL[1 + (index + turn) % 6]));
        }
    }
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: EmbeddingBackward, data: DataKind) -> Option<Case> {
    let len = shape.tokens as usize * shape.width as usize;
    let operands = vec![
        (DY, shape.dy.pack(&data.values(len as u64, len))),
        (INDICES, indices(shape.tokens, shape.vocabulary)),
    ];
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
        name: "lanes_of_the_last_run_store_past_the_row",
        module: WORKGROUP,
        find: "if (column < params.width)",
        replace: "if (column <= params.width)",
    },
    Edit {
        name: "last_token_wins",
        module: NAME,
        find: "+= bitcast<f32>",
        replace: "= bitcast<f32>",
    },
    Edit {
        name: "last_token_dropped",
        module: NAME,
        find: "token < params.tokens",
        replace: "token + 1u < params.tokens",
    },
    Edit {
        name: "rows_not_cleared",
        module: NAME,
        find: "out[row * params.width + column] = 0.0;",
        replace: "",
    },
    Edit {
        name: "found_bits_not_cleared",
        module: WORKGROUP,
        find: "atomicStore(&shared_found[lane], 0u);",
        replace: "",
    },
    Edit {
        name: "second_half_of_the_tokens_ignored",
        module: WORKGROUP,
        find: "note < NOTES",
        replace: "note + 1u < NOTES",
    },
    Edit {
        name: "first_chunk_only",
        module: WORKGROUP,
        find: "let source = first + 32u",
        replace: "let source = 32u",
    },
];
