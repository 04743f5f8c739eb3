//! Cases: every pairing, both directions, both layouts, parts of a larger product, caches whose end is
//! passed, starts past the table, all storage types.

use crate::kernels::attention::Place;
use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{ANGLES, Destination, NAME, OUT, Rotary, Rotation, STARTS, X};

const TYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![[1, 1, 1, 8], [2, 3, 5, 16], [3, 2, 7, 24], [130, 1, 1, 8]];
    if effort == Effort::Full {
        shapes.extend([[2, 9, 70, 64], [1, 32, 33, 128]]);
    }
    let mut cases = Vec::new();
    for (index, [batch, heads, tokens, dim]) in shapes.into_iter().enumerate() {
        for (turn, rotation) in Rotation::ALL.into_iter().enumerate() {
            let plain = Rotary {
                batch,
                heads,
                tokens,
                dim,
                rotation,
                positions: 2 * tokens + 3,
                is_backward: (index + turn) % 2 == 1,
                x_place: Place::tokens_first(heads, tokens, dim),
                out_place: Place::tokens_first(heads, tokens, dim),
                destination: Destination::Rows,
                x: FloatType::F32,
                out: FloatType::F32,
            };
            let capacity = tokens + 4;
            let cache = Rotary {
                // The second of three products of one matrix.
                x_place: Place {
                    offset: heads * dim,
                    batch: 3 * heads * tokens * dim,
                    head: dim,
                    token: 3 * heads * dim,
                },
                out_place: Place::heads_first(heads, capacity, dim),
                destination: Destination::Cache { capacity },
                is_backward: false,
                ..plain
            };
            let turned = Rotary {
                x_place: Place::heads_first(heads, tokens, dim),
                is_backward: !plain.is_backward,
                ..plain
            };
            let kinds = [
                DataKind::Integers,
                DataKind::Normal,
                DataKind::ALL[2 + (index + turn) % 5],
            ];
            for data in kinds {
                cases.extend(case(plain, data));
                cases.extend(case(cache, data));
            }
            cases.extend(case(turned, DataKind::Normal));
            let (x, out) = (TYPES[turn], TYPES[1 + index % 2]);
            cases.extend(case(Rotary { x, out, ..cache }, DataKind::Integers));
            cases.extend(case(Rotary { x, out, ..plain }, DataKind::Normal));
        }
    }
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(rotary: Rotary, data: DataKind) -> Option<Case> {
    let values = |seed, place: Place| {
        let len = rotary.batch as usize * place.batch as usize;
        data.values(seed, len)
    };
    let spread = [2, rotary.tokens + 2, 0, 1000, u32::MAX];
    let starts = (0..rotary.batch as usize).map(|sequence| spread[sequence % 5]);
    let mut operands = vec![
        (X, rotary.x.pack(&values(1, rotary.x_place))),
        (STARTS, starts.collect()),
        (OUT, rotary.out.pack(&values(2, rotary.out_place))),
    ];
    if rotary.rotation != Rotation::None {
        let table = rotary.positions as usize * rotary.dim as usize;
        // Integers stay exact; any two numbers serve as cosine and sine.
        let kind = if data == DataKind::Integers {
            DataKind::Integers
        } else {
            DataKind::Normal
        };
        operands.push((ANGLES, FloatType::F32.pack(&kind.values(3, table))));
    }
    if rotary.destination == Destination::Rows {
        operands.retain(|(binding, _)| *binding != OUT);
    }
    Some(Case::new(rotary.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "sequence >= params.batch",
        replace: "sequence > params.batch",
    },
    Edit {
        name: "start_of_the_first_sequence",
        module: NAME,
        find: "starts[sequence]",
        replace: "starts[0u * sequence]",
    },
    Edit {
        name: "past_the_end_of_the_cache",
        module: NAME,
        find: "row >= params.capacity",
        replace: "row > params.capacity",
    },
    Edit {
        name: "put_at_the_first_rows",
        module: NAME,
        find: "select(token, position, params.append == 1u)",
        replace: "token",
    },
    Edit {
        name: "past_the_table",
        module: NAME,
        find: "min(position, params.positions - 1u)",
        replace: "min(position, params.positions - 2u)",
    },
    Edit {
        name: "always_forward",
        module: "rotation/halves",
        find: "direction * vec4<f32>(left.yw, right.yw)",
        replace: "abs(direction) * vec4<f32>(left.yw, right.yw)",
    },
    Edit {
        name: "sines_for_cosines",
        module: "rotation/halves",
        find: "vec4<f32>(left.xz, right.xz)",
        replace: "vec4<f32>(left.yw, right.yw)",
    },
    Edit {
        name: "second_half_takes_the_angles_of_the_first",
        module: "rotation/neighbours",
        find: "row / 2u + quads + quad",
        replace: "row / 2u + quad",
    },
    Edit {
        name: "halves_swapped",
        module: "rotation/none",
        find: "(low, high)",
        replace: "(high, low)",
    },
];
