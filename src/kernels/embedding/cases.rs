//! Cases: odd widths, one row, indices past the table, repeated ones, every storage type.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::Philox;
use crate::shader::Edit;

use super::{Embedding, INDICES, NAME, TABLE};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1),
        (7, 6, 20),
        (65, 33, 10),
        (130, 64, 3),
        (3, 1000, 2),
    ];
    if effort == Effort::Full {
        shapes.extend([(1024, 576, 1000), (70_000, 3, 5)]);
    }
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, (tokens, width, vocabulary)) in shapes.into_iter().enumerate() {
        for turn in 0..3 {
            let shape = Embedding {
                tokens,
                width,
                vocabulary,
                table: types[turn],
                out: types[(index + turn) % 3],
            };
            cases.extend(case(shape, DataKind::Integers));
            cases.extend(case(shape, DataKind::ALL[1 + (index + turn) % 6]));
            let out = FloatType::F32;
            cases.extend(case(Embedding { out, ..shape }, DataKind::Normal));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// Indices below `vocabulary`, repeated ones among them, and a few past it.
pub(in crate::kernels) fn indices(tokens: u32, vocabulary: u32) -> Vec<u32> {
    let mut stream = Philox::new(tokens.into()).stream(vocabulary.into());
    let mut indices: Vec<u32> = (0..tokens).map(|_| stream.below(vocabulary)).collect();
    for (at, past) in [(3, vocabulary), (5, u32::MAX)] {
        if at < indices.len() {
            indices[at] = past;
        }
    }
    indices
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: Embedding, data: DataKind) -> Option<Case> {
    let len = shape.vocabulary as usize * shape.width as usize;
    let table = shape.table.pack(&data.values(len as u64, len));
    let operands = vec![
        (TABLE, table),
        (INDICES, indices(shape.tokens, shape.vocabulary)),
    ];
    Some(Case::new(shape.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "token >= params.tokens",
        replace: "token > params.tokens",
    },
    Edit {
        name: "index_past_the_table_reads_its_start",
        module: NAME,
        find: "return 0.0;",
        replace: "return bitcast<f32>(load_bits(column));",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: NAME,
        find: "let second = min(column + 1u, params.width - 1u)",
        replace: "let second = column",
    },
    Edit {
        name: "token_for_index",
        module: NAME,
        find: "let row = indices[token]",
        replace: "let row = indices[token] * 0u + token",
    },
    Edit {
        name: "rows_one_element_short",
        module: NAME,
        find: "row * params.width + column",
        replace: "row * (params.width - 1u) + column",
    },
];
