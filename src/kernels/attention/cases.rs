//! Cases: every mask, grouped heads, lengths of their own, parts, both layouts and operands that share a
//! buffer, all storage types; what lies behind a sequence's keys is NaN.

use crate::kernels::{Case, DataKind, Effort, FloatType};
use crate::shader::Edit;

use super::{
    Attention, AttentionShape, K, KEY_SCALES, KeyCounts, KeyStorage, LENGTHS, Mask, NAME, Place, Q,
    V, VALUE_SCALES,
};

const F32: FloatType = FloatType::F32;

/// Extents: single rows and keys, around tiles and quads of keys, heads that share.
const EXTENTS: [[u32; 6]; 7] = [
    [1, 1, 1, 1, 1, 4],
    [2, 3, 3, 5, 11, 8],
    [1, 4, 2, 7, 7, 8],
    [2, 6, 2, 1, 33, 8],
    [1, 2, 1, 9, 4, 20],
    [3, 2, 2, 3, 18, 20],
    [1, 1, 1, 13, 64, 8],
];

pub(super) fn cases(effort: Effort) -> Vec<Case> {
    let mut cases = Vec::new();
    let plain = |shape| Attention {
        shape,
        splits: 1,
        q: F32,
        kv: KeyStorage::Float(F32),
        out: F32,
    };
    for (index, extents) in EXTENTS.into_iter().enumerate() {
        let mut shape = AttentionShape::heads_first(extents);
        if index % 2 == 1 {
            shape = AttentionShape::tokens_first(extents);
        }
        shape.mask = Mask::ALL[index % 3];
        cases.extend(case(plain(shape), DataKind::Normal));
        shape.lengths = KeyCounts::PerSequence;
        cases.extend(case(plain(shape), DataKind::ALL[index]));
        shape.mask = Mask::ALL[(index + 1) % 3];
        let parts = Attention {
            splits: 2 + index as u32,
            ..plain(shape)
        };
        cases.extend(case(parts, DataKind::Normal));
    }
    for mask in Mask::ALL {
        let mut shape = AttentionShape::tokens_first(EXTENTS[1]);
        shape.mask = mask;
        cases.extend(case(plain(shape), DataKind::Normal));
        shape.lengths = KeyCounts::PerSequence;
        cases.extend(case(plain(shape), DataKind::Normal));
    }
    let extents = [2, 4, 2, 6, 19, 8];
    for data in DataKind::ALL {
        let mut shape = AttentionShape::tokens_first(extents);
        shape.mask = Mask::Causal;
        if data == DataKind::Cancelling {
            shape.scale = 1e-4;
        }
        cases.extend(case(plain(shape), data));
    }
    for (q, kv, out) in [
        (FloatType::F16, FloatType::F16, FloatType::F16),
        (FloatType::Bf16, FloatType::Bf16, FloatType::Bf16),
        (F32, FloatType::F16, F32),
        (FloatType::F16, F32, F32),
        (F32, FloatType::Bf16, FloatType::F16),
    ] {
        for data in [DataKind::Normal, DataKind::Integers] {
            let shape = AttentionShape::tokens_first(extents);
            cases.extend(case(
                Attention {
                    shape,
                    splits: 1,
                    q,
                    kv: KeyStorage::Float(kv),
                    out,
                },
                data,
            ));
        }
    }
    for (index, data) in [DataKind::Normal, DataKind::Integers]
        .into_iter()
        .enumerate()
    {
        let mut shape = AttentionShape::heads_first(extents);
        if index == 0 {
            shape = AttentionShape::tokens_first(extents);
        }
        shape.lengths = KeyCounts::PerSequence;
        let int8 = Attention {
            splits: 1 + 2 * index as u32,
            kv: KeyStorage::Int8,
            ..plain(shape)
        };
        cases.extend(case(int8, data));
    }
    cases.extend(case(plain(fused(2, 4, 2, 6, 8)), DataKind::Normal));
    // Large enough to be cut by sequences.
    let many = AttentionShape::heads_first([6, 2, 1, 32, 32, 8]);
    cases.extend(case(plain(many), DataKind::Normal));
    let mut few = AttentionShape::tokens_first([2, 2, 1, 3, 9, 8]);
    cases.extend(not_finite(plain(few)));
    few.mask = Mask::Causal;
    let parts = Attention {
        splits: 3,
        ..plain(few)
    };
    cases.extend(not_finite(parts));
    if effort == Effort::Full {
        let prefill = |dim| AttentionShape {
            mask: Mask::Causal,
            ..AttentionShape::tokens_first([1, 9, 3, 70, 70, dim])
        };
        cases.extend(case(plain(prefill(64)), DataKind::Normal));
        cases.extend(case(plain(prefill(128)), DataKind::Normal));
        for (keys, splits) in [(1000, 16), (5, 16), (2048, 32)] {
            let decode = Attention {
                splits,
                kv: KeyStorage::Float(FloatType::F16),
                ..plain(AttentionShape {
                    lengths: KeyCounts::PerSequence,
                    ..AttentionShape::heads_first([2, 9, 3, 1, keys, 64])
                })
            };
            cases.extend(case(decode, DataKind::Normal));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// Queries, keys and values of one product, `[batch, tokens, heads + 2 kv_heads, dim]`.
fn fused(batch: u32, heads: u32, kv_heads: u32, tokens: u32, dim: u32) -> AttentionShape {
    let token = (heads + 2 * kv_heads) * dim;
    let place = |head: u32| Place {
        offset: head * dim,
        batch: tokens * token,
        head: dim,
        token,
    };
    AttentionShape {
        q: place(0),
        k: place(heads),
        v: place(heads + kv_heads),
        mask: Mask::Causal,
        ..AttentionShape::tokens_first([batch, heads, kv_heads, tokens, tokens, dim])
    }
}

/// Numbers of keys from 0 to more than there are.
fn lengths(shape: &AttentionShape) -> Vec<u32> {
    let spread = [shape.keys.div_ceil(2), shape.keys + 3, 0];
    (0..shape.batch as usize)
        .map(|sequence| spread[sequence % 3])
        .collect()
}

/// Values of the operands that all attention kernels read.
pub(in crate::kernels) struct Operands {
    pub q: Vec<f32>,
    pub k: Vec<f32>,
    pub v: Vec<f32>,
    pub lengths: Vec<u32>,
}

impl Operands {
    /// Values of a kind; keys and values behind those of a sequence are NaN, which nothing may read.
    pub fn new(shape: &AttentionShape, data: DataKind) -> Self {
        let seed = u64::from(shape.queries) << 32 | u64::from(shape.keys);
        let values = |index: u64, place: Place| {
            let len = shape.batch as usize * place.batch as usize;
            data.values(seed ^ (index << 16), len)
        };
        let (q, mut k, mut v) = (values(1, shape.q), values(2, shape.k), values(3, shape.v));
        let lengths = lengths(shape);
        if shape.lengths == KeyCounts::PerSequence {
            for (sequence, &length) in lengths.iter().enumerate() {
                for head in 0..shape.kv_heads as usize {
                    for key in length as usize..shape.keys as usize {
                        let rows = [(&mut k, shape.k), (&mut v, shape.v)];
                        for (values, place) in rows {
                            let start = place.start(sequence, head, key);
                            values[start..start + shape.dim as usize].fill(f32::NAN);
                        }
                    }
                }
            }
        }
        Self { q, k, v, lengths }
    }
}

/// Rows as int8 codes, and their scales; those of rows of NaN are NaN.
fn quantized(values: &[f32], dim: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for row in values.chunks(dim) {
        let largest = row.iter().fold(0.0_f32, |most, one| most.max(one.abs()));
        let scale = if row[0].is_nan() {
            f32::NAN
        } else {
            largest / 127.0
        };
        let code = |value: &f32| (value / scale.max(1e-30)).round() as i8;
        codes.extend(row.iter().map(code));
        scales.push(scale);
    }
    (
        bytemuck::pod_collect_to_vec(&codes),
        FloatType::F32.pack(&scales),
    )
}

/// The case; `None` only when the shape itself is refused, which the shape tests cover.
fn case(attention: Attention, data: DataKind) -> Option<Case> {
    case_of(attention, Operands::new(&attention.shape, data), data)
}

/// A query that is NaN, whose row must be NaN, and a key that gives all positive queries of the last sequence an
/// infinite score, which does the same.
fn not_finite(attention: Attention) -> Option<Case> {
    let shape = &attention.shape;
    let mut made = Operands::new(shape, DataKind::Normal);
    let last = shape.batch as usize - 1;
    for q in &mut made.q[last * shape.q.batch as usize..] {
        *q = q.abs() + 1.0;
    }
    made.q[shape.q.start(0, 0, 0)] = f32::NAN;
    made.k[shape.k.start(last, 0, 0)] = f32::INFINITY;
    let mut case = case_of(attention, made, DataKind::Normal)?;
    case.name.push_str(" not-finite");
    Some(case)
}

fn case_of(attention: Attention, made: Operands, data: DataKind) -> Option<Case> {
    let mut operands = vec![(Q, attention.q.pack(&made.q))];
    for (binding, scales, values) in [(K, KEY_SCALES, &made.k), (V, VALUE_SCALES, &made.v)] {
        match attention.kv {
            KeyStorage::Float(storage) => operands.push((binding, storage.pack(values))),
            KeyStorage::Int8 => {
                let (codes, factors) = quantized(values, attention.shape.dim as usize);
                operands.extend([(binding, codes), (scales, factors)]);
            }
        }
    }
    if attention.shape.lengths == KeyCounts::PerSequence {
        operands.push((LENGTHS, made.lengths));
    }
    Some(Case::new(attention.launch().ok()?, operands, data).bounded())
}

/// What every kernel of shares must be caught with.
pub(in crate::kernels) const NAN_AS_ONE: Edit = Edit {
    name: "nan_counts_as_one",
    module: "lib/share",
    find: "return select(exp(max(below, -100.0)), below, is_nan);",
    replace: "return select(exp(max(below, -100.0)), 1.0, is_nan);",
};

pub(super) const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "if (first_row + row < rows)",
        replace: "if (first_row + row <= rows)",
    },
    Edit {
        name: "keys_of_the_first_head",
        module: NAME,
        find: "starts[i] = k_start(sequence, kv_head,",
        replace: "starts[i] = k_start(sequence, 0u,",
    },
    Edit {
        name: "sum_not_shrunk",
        module: NAME,
        find: "sum[row] * shrink[row] + added",
        replace: "sum[row] + added",
    },
    Edit {
        name: "total_not_shrunk",
        module: NAME,
        find: "var next = shrink[row] * total",
        replace: "var next = 1.0 * total",
    },
    Edit {
        name: "keys_past_the_last_seen",
        module: NAME,
        find: "let shown = select(0.0, weight, key + i < seen[row]);",
        replace: "let shown = weight;",
    },
    NAN_AS_ONE,
    Edit {
        name: "rows_of_nan_as_rows_without_keys",
        module: NAME,
        find: "let any = seen[row] > first;",
        replace: "let any = sum[row] > 0.0;",
    },
    Edit {
        name: "logarithm_without_the_largest",
        module: NAME,
        find: "largest[row] + log(sum[row])",
        replace: "log(sum[row])",
    },
    Edit {
        name: "last_key_not_seen",
        module: "attention/params",
        find: "query + 1u + end",
        replace: "query + end",
    },
    Edit {
        name: "cache_taken_as_full",
        module: "attention/params",
        find: "select(length, params.keys, params.mask == 1u)",
        replace: "params.keys",
    },
    Edit {
        name: "length_of_the_first_sequence",
        module: "lengths/tensor",
        find: "lengths[sequence]",
        replace: "lengths[0u * sequence]",
    },
    Edit {
        name: "length_past_the_keys",
        module: "lengths/tensor",
        find: "return min(lengths[sequence], params.keys);",
        replace: "return lengths[sequence] + 0u * params.keys;",
    },
    Edit {
        name: "parts_one_key_short",
        module: NAME,
        find: "(length + params.splits - 1u) / params.splits",
        replace: "length / params.splits",
    },
    Edit {
        name: "scales_of_keys_for_values",
        module: "kv/int8",
        find: "return value_scales[start",
        replace: "return key_scales[start",
    },
    Edit {
        name: "scale_of_the_first_row",
        module: "kv/int8",
        find: "key_scales[start / (4u * QUADS)]",
        replace: "key_scales[0u * start]",
    },
    Edit {
        name: "value_halves_swapped",
        module: "kv/f16",
        find: "let words = value_rows[index / 4u];",
        replace: "let words = value_rows[index / 4u].yx;",
    },
];
