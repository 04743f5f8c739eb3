//! Cases: every weight format, odd widths, indices past the table, every storage type.

use crate::kernels::embedding::indices;
use crate::kernels::quant_cases::{FORMATS, fits};
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::num::{ScaleType, Scheme, quantize};
use crate::shader::Edit;

use super::{CODES, EmbeddingQuant, INDICES, NAME, SCALES, ZEROS};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![(7, 192, 20), (65, 34, 10), (130, 8, 12), (3, 64, 2)];
    if effort == Effort::Full {
        shapes.extend([(33, 576, 1000), (70_000, 3, 5)]);
    }
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, (tokens, width, vocabulary)) in shapes.into_iter().enumerate() {
        for (turn, scheme) in FORMATS.iter().enumerate() {
            if !fits(scheme, width) {
                continue;
            }
            for out in [FloatType::F32, types[(index + turn) % 3]] {
                let shape = EmbeddingQuant {
                    tokens,
                    width,
                    vocabulary,
                    table: scheme.format(),
                    out,
                };
                for data in [DataKind::Integers, DataKind::Normal] {
                    cases.extend(case(shape, scheme, data));
                }
            }
        }
    }
    // Exact, and large enough to be cut by tokens.
    let scheme = Scheme::int4_group(8);
    let many = EmbeddingQuant {
        tokens: 130,
        width: 8,
        vocabulary: 12,
        table: scheme.format(),
        out: FloatType::F32,
    };
    cases.extend(case(many, &scheme, DataKind::Integers));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: EmbeddingQuant, scheme: &Scheme, data: DataKind) -> Option<Case> {
    let (vocabulary, width) = (shape.vocabulary as usize, shape.width as usize);
    let values = data.values(vocabulary as u64, vocabulary * width);
    let table = quantize("table", &values, vocabulary, width, scheme).ok()?;
    let mut operands = vec![
        (INDICES, indices(shape.tokens, shape.vocabulary)),
        (CODES, table.codes().to_vec()),
        (SCALES, table.packed_scales()),
    ];
    operands.extend(table.packed_zeros().map(|zeros| (ZEROS, zeros)));
    let case = Case::new(shape.launch().ok()?, operands, data);
    // A scale of 11 bits times a code is exact.
    Some(match shape.table.scale_type {
        ScaleType::F16 => case,
        ScaleType::F32 => case.bounded(),
    })
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
        find: "let row = indices[token];",
        replace: "let row = select(0u, indices[token], indices[token] < params.vocabulary);",
    },
    Edit {
        name: "zero_point_added",
        module: NAME,
        find: "weights.high - zero",
        replace: "weights.high + zero",
    },
    Edit {
        name: "scale_of_the_first_group",
        module: NAME,
        find: "step / params.group_steps",
        replace: "0u * step / params.group_steps",
    },
    Edit {
        name: "scales_of_the_first_row",
        module: NAME,
        find: "row * params.scale_row_stride",
        replace: "0u * row * params.scale_row_stride",
    },
    Edit {
        name: "nibbles_swapped",
        module: "codes/int4",
        find: "(word >> 4u) & 0x0f0f0f0fu",
        replace: "word & 0x0f0f0f0fu",
    },
];
