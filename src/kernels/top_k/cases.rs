//! Cases: rows around the lane counts, ties, every kind of data and storage type, all elements of a row.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{NAME, TopK, X};

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        (1, 1, 1),
        (3, 7, 7),
        (20, 64, 5),
        (20, 64, 64),
        (2, 65, 65),
        (5, 300, 40),
        (1, 2049, 8),
    ];
    if effort == Effort::Full {
        shapes.extend([(2, 49_152, 50), (70_000, 3, 1)]);
    }
    let types = [FloatType::F32, FloatType::F16, FloatType::Bf16];
    let mut cases = Vec::new();
    for (index, (rows, columns, count)) in shapes.into_iter().enumerate() {
        for x in [FloatType::F32, types[index % 3]] {
            let shape = TopK {
                rows,
                columns,
                count,
                x,
            };
            // Integers have many ties.
            for data in [
                DataKind::Integers,
                DataKind::Normal,
                DataKind::ALL[2 + index % 5],
            ] {
                cases.extend(case(shape, data));
            }
        }
    }
    for data in DataKind::ALL {
        let shape = TopK {
            rows: 4,
            columns: 77,
            count: 9,
            x: FloatType::F32,
        };
        cases.extend(case(shape, data));
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: TopK, data: DataKind) -> Option<Case> {
    let len = shape.rows as usize * shape.columns as usize;
    let operands = vec![(X, shape.x.pack(&data.values(len as u64, len)))];
    Some(Case::new(shape.launch().ok()?, operands, data))
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "results_of_rows_run_together",
        module: NAME,
        find: "chosen[row * params.count + turn]",
        replace: "chosen[row + turn]",
    },
    Edit {
        name: "of_equal_elements_the_last",
        module: NAME,
        find: "key == other_key && column < other_column",
        replace: "key == other_key && column > other_column",
    },
    Edit {
        name: "the_lane_of_the_chosen_looks_no_further",
        module: NAME,
        find: "turn == 0u || (best_key",
        replace: "turn == 0u && (best_key",
    },
    Edit {
        name: "chosen_again",
        module: NAME,
        find: "turn == 0u || precedes(last_key",
        replace: "turn < 2u || precedes(last_key",
    },
    Edit {
        name: "last_column_not_looked_at",
        module: NAME,
        find: "column < params.columns; column",
        replace: "column + 1u < params.columns; column",
    },
    Edit {
        name: "half_of_the_lanes",
        module: NAME,
        find: "var width = WORKGROUP_SIZE / 2u;",
        replace: "var width = WORKGROUP_SIZE / 4u;",
    },
    Edit {
        name: "value_of_the_first_element",
        module: NAME,
        find: "load_bits(start + last_column)",
        replace: "load_bits(start + 0u * last_column)",
    },
];
