//! Cases: every operation on f32 with every kind of data inside its domain, then every pair of
//! storage types and broadcasts on operations chosen in turn.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{A, B, Binary, Broadcast, Elementwise, Operation, Second, Unary};

/// 2^-126, the smallest normal f32.
const SMALLEST: f32 = f32::MIN_POSITIVE;

/// 2^-14, the smallest normal f16; every type stores it.
const SMALLEST_F16: f32 = 1.0 / 16384.0;

const AFFINE: Operation = Operation::Affine {
    alpha: 0.5,
    beta: -3.0,
};

const TYPES: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::Bf16];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    // All operations, f32.
    for (index, operation) in operations().into_iter().enumerate() {
        for (turn, data) in DataKind::ALL.into_iter().enumerate() {
            let (rows, columns) = [(9, 33), (7, 65), (3, 64), (1, 1), (64, 8)][(index + turn) % 5];
            let shape = Elementwise {
                rows,
                columns,
                operation,
                a: FloatType::F32,
                out: FloatType::F32,
            };
            cases.extend(case(shape, data));
        }
    }
    // Functions over many arguments: their worst ones are rare.
    for unary in Unary::ALL {
        let operation = Operation::Unary(unary);
        let (a, out) = (FloatType::F32, FloatType::F32);
        let shape = Elementwise {
            rows: 64,
            columns: 129,
            operation,
            a,
            out,
        };
        cases.extend(case(shape, DataKind::Normal));
    }
    // Storage types and broadcasts: every pair meets, in an operation chosen in turn.
    for (index, (a, b, out, broadcast)) in pairs(effort).into_iter().enumerate() {
        let second = Second {
            broadcast,
            storage: b,
        };
        let binary = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Max][index % 4];
        let operation = Operation::Binary(binary, second);
        for data in [
            DataKind::Integers,
            DataKind::Normal,
            DataKind::Outliers,
            DataKind::Denormals,
        ] {
            let (rows, columns) = [(9, 33), (5, 7), (70, 64), (1, 1000)][index % 4];
            cases.extend(case(
                Elementwise {
                    rows,
                    columns,
                    operation,
                    a,
                    out,
                },
                data,
            ));
        }
    }
    let one_operand = [
        Unary::Silu,
        Unary::GeluTanh,
        Unary::Exp,
        Unary::Square,
        Unary::Log,
        Unary::Tanh,
    ];
    for (index, unary) in one_operand.into_iter().enumerate() {
        let (a, out) = [
            (FloatType::F16, FloatType::F16),
            (FloatType::Bf16, FloatType::Bf16),
            (FloatType::F32, FloatType::F16),
            (FloatType::Bf16, FloatType::F32),
            (FloatType::F16, FloatType::Bf16),
            (FloatType::F32, FloatType::Bf16),
        ][index];
        for data in [DataKind::Integers, DataKind::Normal, DataKind::Outliers] {
            let operation = Operation::Unary(unary);
            cases.extend(case(
                Elementwise {
                    rows: 9,
                    columns: 33,
                    operation,
                    a,
                    out,
                },
                data,
            ));
        }
    }
    // The first loop and the pairs may meet.
    cases.sort_by(|a: &Case, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// Every operation; binary ones with each broadcast in turn.
fn operations() -> Vec<Operation> {
    let mut all: Vec<Operation> = Unary::ALL.into_iter().map(Operation::Unary).collect();
    for (index, binary) in Binary::ALL.into_iter().enumerate() {
        let broadcast = Broadcast::ALL[index % 4];
        all.push(Operation::Binary(
            binary,
            Second {
                broadcast,
                storage: FloatType::F32,
            },
        ));
    }
    all.push(AFFINE);
    all
}

/// Types of a, b and out with a broadcast: a Latin square, so that each pair of two columns occurs,
/// or all combinations.
fn pairs(effort: Effort) -> Vec<(FloatType, FloatType, FloatType, Broadcast)> {
    let mut pairs = Vec::new();
    for (i, a) in TYPES.into_iter().enumerate() {
        for (j, b) in TYPES.into_iter().enumerate() {
            if effort == Effort::Full {
                for out in TYPES {
                    pairs.extend(Broadcast::ALL.map(|broadcast| (a, b, out, broadcast)));
                }
            } else {
                pairs.push((a, b, TYPES[(i + j) % 3], Broadcast::ALL[(i + 2 * j) % 4]));
            }
        }
    }
    pairs
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(shape: Elementwise, data: DataKind) -> Option<Case> {
    let Elementwise {
        rows,
        columns,
        operation,
        a,
        ..
    } = shape;
    let (rows, columns) = (rows as usize, columns as usize);
    let seed = (rows << 20 | columns) as u64;
    let first = data
        .values(seed, rows * columns)
        .into_iter()
        .map(|value| inside(operation, value, a));
    let mut operands = vec![(A, a.pack(&first.collect::<Vec<f32>>()))];
    if let Some(Second { broadcast, storage }) = operation.second() {
        let len = match broadcast {
            Broadcast::Full => rows * columns,
            Broadcast::Row => rows,
            Broadcast::Column => columns,
            Broadcast::Scalar => 1,
        };
        let divides = matches!(operation, Operation::Binary(Binary::Div, _));
        let second = data.values(seed + 1, len).into_iter();
        let second = second.map(|value| {
            if divides {
                away_from_zero(value)
            } else {
                value
            }
        });
        operands.push((B, storage.pack(&second.collect::<Vec<f32>>())));
    }
    let case = Case::new(shape.launch().ok()?, operands, data);
    Some(if operation.is_exact() {
        case
    } else {
        case.bounded()
    })
}

/// The value moved into the operation's domain.
fn inside(operation: Operation, value: f32, storage: FloatType) -> f32 {
    let smallest = match storage {
        FloatType::F32 | FloatType::Bf16 => SMALLEST,
        FloatType::F16 => SMALLEST_F16,
    };
    match operation {
        Operation::Unary(Unary::Sqrt) => value.abs(),
        Operation::Unary(Unary::Rsqrt | Unary::Log) => value.abs().max(smallest),
        Operation::Unary(Unary::Exp) => value.min(80.0),
        Operation::Unary(_) | Operation::Binary(..) | Operation::Affine { .. } => value,
    }
}

fn away_from_zero(value: f32) -> f32 {
    value.abs().max(0.25).copysign(value)
}

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "leak_above_zero",
        module: "operation/leaky_relu",
        find: "a < 0.0",
        replace: "a > 0.0",
    },
    Edit {
        name: "distribution_of_the_magnitude",
        module: "lib/normal",
        find: "select(1.0 - tail, tail, v < 0.0)",
        replace: "1.0 - tail",
    },
    Edit {
        name: "elu_series_without_its_second_term",
        module: "operation/elu",
        find: "near * (0.5 + near",
        replace: "near * (near",
    },
    Edit {
        name: "softplus_of_the_magnitude",
        module: "operation/softplus",
        find: "max(a, 0.0)",
        replace: "abs(a)",
    },
    Edit {
        name: "log1p_series_off",
        module: "lib/log1p",
        find: "0.33333333",
        replace: "0.33",
    },
    Edit {
        name: "hardswish_not_clamped",
        module: "operation/hardswish",
        find: "clamp(a * 0.16666667 + 0.5, 0.0, 1.0)",
        replace: "(a * 0.16666667 + 0.5)",
    },
    Edit {
        name: "operands_swapped",
        module: "operation/sub",
        find: "return a - b",
        replace: "return b - a",
    },
    Edit {
        name: "max_is_min",
        module: "operation/max",
        find: "max(a, b)",
        replace: "min(a, b)",
    },
    Edit {
        name: "beta_dropped",
        module: "operation/affine",
        find: " + params.beta",
        replace: "",
    },
    Edit {
        name: "silu_overflows",
        module: "activation/silu",
        find: "exp(-abs(v))",
        replace: "exp(-v)",
    },
    Edit {
        name: "gelu_cubic_off",
        module: "activation/gelu_tanh",
        find: "0.044715 * near",
        replace: "0.045 * near",
    },
    Edit {
        name: "sigmoid_of_the_magnitude",
        module: "operation/sigmoid",
        find: "select(1.0, t, a < 0.0)",
        replace: "1.0",
    },
    Edit {
        name: "log_to_base_2",
        module: "operation/log",
        find: "return log(a)",
        replace: "return log2(a)",
    },
    Edit {
        name: "rows_for_columns",
        module: "broadcast/column",
        find: "(params.first + index) % params.columns",
        replace: "(params.first + index) / params.columns",
    },
    Edit {
        name: "first_row_for_all",
        module: "broadcast/row",
        find: "(params.first + index) / params.columns",
        replace: "params.first / params.columns",
    },
    Edit {
        name: "bf16_half_of_b_wrong",
        module: "second/bf16",
        find: "16u * (index & 1u)",
        replace: "16u * (index & 0u)",
    },
    Edit {
        name: "second_of_a_pair_is_the_first",
        module: "elementwise",
        find: "second = result_bits(index + 1u)",
        replace: "second = result_bits(index)",
    },
    Edit {
        name: "written_past_the_end",
        module: "pair/f32",
        find: "2u * pair + 1u < count",
        replace: "2u * pair < count",
    },
];
