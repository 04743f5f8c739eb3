//! Attention over parts of the keys put together and stored as int8 codes in blocks of 32, as `quantize_rows` stores
//! what `attention_combine` makes: what the product behind attention reads, in one launch.

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::attention::{LOWEST, Place};
use super::attention_combine::AttentionCombine;
use super::code_blocks::{BLOCK, CodeBlocks};
use super::iterations::looped;
use super::rows::slot_bytes;
use super::shape::{ShapeError, check_multiple};
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "combine_quantize";
const PARTIALS: u32 = 1;
const LOG_SUMS: u32 = 2;

params! {
    struct Params {
        batch: u32,
        splits: u32,
        heads: u32,
        queries: u32,
        head_blocks: u32,
        scales_start: u32,
        sums_start: u32,
        segments: u32,
    }
}

/// Shape of one launch. Operands by binding: results of parts f32 `[batch, splits, heads, queries, dim]` 1, their
/// logarithms f32 `[batch, splits, heads, queries]` 2, codes of rows `[batch queries, heads dim]` 7, scales then sums
/// 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CombineQuantize {
    /// Sequences.
    pub batch: u32,
    /// Parts of the keys.
    pub splits: u32,
    /// Heads of the queries.
    pub heads: u32,
    /// Queries of a sequence.
    pub queries: u32,
    /// Elements of a head: a multiple of 32.
    pub dim: u32,
    /// Codes that share a sum: 8, 16 or 32.
    pub segment: u32,
}

#[derive(Debug, Clone, Copy)]
struct CombineLaunch {
    shape: CombineQuantize,
    combine: AttentionCombine,
    codes: CodeBlocks,
}

impl CombineQuantize {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, heads that are not whole blocks, other segments, and more elements than 32
    /// bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            batch,
            splits,
            heads,
            queries,
            dim,
            segment,
        } = self;
        let combine = AttentionCombine {
            batch,
            splits,
            heads,
            queries,
            dim,
            place: Place::tokens_first(heads, queries, dim),
            out: FloatType::F32,
        };
        // It says what is wrong with extents, of which the products below are then within 32 bits.
        combine.launch()?;
        let block = ("elements of a block,", BLOCK.into());
        check_multiple(NAME, ("dim", dim.into()), block)?;
        let codes = CodeBlocks::new(NAME, [batch * queries, heads * dim, segment])?;
        Ok(Arc::new(CombineLaunch {
            shape: self,
            combine,
            codes,
        }))
    }
}

impl CombineLaunch {
    const fn blocks(&self) -> u64 {
        let CombineQuantize { batch, queries, .. } = self.shape;
        batch as u64 * queries as u64 * self.codes.row_blocks() as u64
    }
}

impl Launch for CombineLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let CombineQuantize {
            batch,
            splits,
            heads,
            queries,
            dim,
            ..
        } = self.shape;
        let codes = self.codes.describe();
        format!("batch={batch} splits={splits} heads={heads} queries={queries} dim={dim} {codes}")
    }

    fn slots(&self) -> Vec<Slot> {
        let mut slots = self.combine.slots();
        slots.truncate(2);
        slots.extend(self.codes.slots());
        slots
    }

    fn params(&self) -> Vec<u8> {
        let CombineQuantize {
            batch,
            splits,
            heads,
            queries,
            dim,
            ..
        } = self.shape;
        let codes = self.codes.params();
        bytemuck::bytes_of(&Params {
            batch,
            splits,
            heads,
            queries,
            head_blocks: dim / BLOCK,
            scales_start: codes.scales_start,
            sums_start: codes.sums_start,
            segments: codes.segments,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let lanes = |lanes| Variant::new(NAME).number("WORKGROUP_SIZE", lanes);
        // Few lanes where there are few blocks, so that all cores have some.
        if self.blocks() < 512 {
            return vec![lanes(8), lanes(64)];
        }
        vec![lanes(64), lanes(8)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        self.blocks().div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        let splits = u64::from(self.shape.splits);
        Iterations {
            unrolled: 2 * looped(splits, 0),
            rolled: looped(splits, 0)
                + looped(splits, looped(8, 0))
                + 3 * looped(8, 0)
                + looped(4, 0),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let values = self.combine.values(operands);
        let values: Vec<f64> = values.into_iter().map(|one| one.value).collect();
        self.codes.outputs(&values)
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let mut values = vec![0.0; (self.blocks() * u64::from(BLOCK)) as usize];
        self.combine.combine(operands, &mut values);
        self.codes.fill(results, &values);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        self.codes.bounds(&self.combine.values(operands), |_| 0.0)
    }

    fn cost(&self) -> Cost {
        let values = self.blocks() as f64 * f64::from(BLOCK);
        // A product and a sum a part, and the six operations of quantize_rows.
        Cost {
            operations: (2.0 * f64::from(self.shape.splits) + 6.0) * values,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let CombineQuantize { batch, queries, .. } = self.shape;
        let slots = self.combine.slots();
        let of_sequence = |slot: &Slot| (slot.binding, slot.bytes / u64::from(batch));
        let reads: Vec<(u32, u64)> = slots.iter().take(2).map(of_sequence).collect();
        let limits = (limit, alignment);
        self.codes
            .parts(queries, (&reads, &[]), limits, |batch, codes| {
                Arc::new(Self {
                    shape: CombineQuantize {
                        batch,
                        ..self.shape
                    },
                    combine: AttentionCombine {
                        batch,
                        ..self.combine
                    },
                    codes,
                })
            })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [batch, splits, heads, queries, dim] = asked.extents("BATCHxSPLITSxHEADSxQUERIESxDIM")?;
    let shape = CombineQuantize {
        batch,
        splits,
        heads,
        queries,
        dim,
        segment: BLOCK,
    };
    Ok(shape.launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    let mut shapes = vec![
        [1, 1, 1, 1, 32],
        [2, 3, 4, 1, 64],
        [3, 7, 2, 5, 32],
        [1, 16, 9, 1, 64],
        [20, 2, 4, 2, 128],
    ];
    if effort == Effort::Full {
        shapes.push([2, 64, 9, 3, 128]);
    }
    let mut cases = Vec::new();
    for (index, [batch, splits, heads, queries, dim]) in shapes.into_iter().enumerate() {
        let shape = CombineQuantize {
            batch,
            splits,
            heads,
            queries,
            dim,
            segment: [32, 8, 16][index % 3],
        };
        for data in [DataKind::Normal, DataKind::ALL[index]] {
            cases.extend(case(shape, data, None));
        }
        if index == 1 {
            cases.extend(
                DataKind::ALL
                    .into_iter()
                    .filter_map(|data| case(shape, data, None)),
            );
            cases.extend(case(shape, DataKind::Normal, Some(3)));
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case, in which every fifth part has seen no key, with the logarithm of a row of a part that is NaN where asked;
/// `None` only when the shape itself is refused.
fn case(shape: CombineQuantize, data: DataKind, nan: Option<usize>) -> Option<Case> {
    let rows = (shape.batch * shape.splits * shape.heads * shape.queries) as usize;
    let partials = data.values(1, rows * shape.dim as usize);
    let mut logs = DataKind::Normal.values(2, rows);
    for log in logs.iter_mut().step_by(5) {
        *log = LOWEST as f32;
    }
    if let Some(at) = nan {
        logs[at] = f32::NAN;
    }
    let operands = vec![
        (PARTIALS, FloatType::F32.pack(&partials)),
        (LOG_SUMS, FloatType::F32.pack(&logs)),
    ];
    let mut case = Case::new(shape.launch().ok()?, operands, data).bounded();
    if nan.is_some() {
        case.name.push_str(" nan");
    }
    Some(case)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "no_guard",
        module: NAME,
        find: "sequence >= params.batch",
        replace: "sequence > params.batch",
    },
    Edit {
        name: "largest_of_the_first_part",
        module: NAME,
        find: "largest = max(largest, log_sums[first + split * rows]);",
        replace: "largest = max(largest, log_sums[first]);",
    },
    Edit {
        name: "last_part_left_out",
        module: NAME,
        find: "for (var split = 0u; split < params.splits; split++)",
        replace: "for (var split = 0u; split + 1u < params.splits; split++)",
    },
    Edit {
        name: "heads_for_queries",
        module: NAME,
        find: "head * params.queries + query;",
        replace: "query * params.heads + head;",
    },
    Edit {
        name: "first_block_of_each_head",
        module: NAME,
        find: "(index * params.head_blocks + within)",
        replace: "(index * params.head_blocks)",
    },
    Edit {
        name: "parts_weighted_alike",
        module: NAME,
        find: "values[quad] += weight * partials",
        replace: "values[quad] += partials",
    },
    Edit {
        name: "not_divided",
        module: NAME,
        find: "values[quad] / sum",
        replace: "values[quad] / min(sum, 1.0)",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "attention over parts of the keys put together, stored as int8 codes with a scale for every 32",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::super::parts_test::check_parts;
    use super::*;

    #[test]
    fn rejects_heads_of_broken_blocks() {
        let shape = CombineQuantize {
            batch: 1,
            splits: 2,
            heads: 2,
            queries: 1,
            dim: 32,
            segment: 32,
        };
        assert!(shape.launch().is_ok());
        let odd = CombineQuantize { dim: 16, ..shape };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "dim", .. })
        ));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let shape = CombineQuantize {
            batch: 5,
            splits: 2,
            heads: 2,
            queries: 2,
            dim: 32,
            segment: 16,
        };
        let case = case(shape, DataKind::Normal, None).expect("a good shape");
        let launch = shape.launch().expect("a good shape");
        let n = check_parts(launch.as_ref(), &case.operands, 2100, 16);
        assert!(n > 1, "{n}");
    }
}
