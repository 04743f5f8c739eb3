//! Gated rows stored as int8 codes in blocks of 32, as `quantize_rows` stores those of `swiglu`: what the last product
//! of a decoder's layer reads, in one launch and without the rows in between.

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::code_blocks::{BLOCK, CodeBlocks};
use super::fast::fill;
use super::functions::logistic;
use super::iterations::looped;
use super::rows::{read, slot_bytes};
use super::running::Running;
use super::shape::{ShapeError, check_index};
use super::swiglu::silu;
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "swiglu_quantize";
const X: u32 = 1;

params! {
    struct Params {
        rows: u32,
        row_blocks: u32,
        scales_start: u32,
        sums_start: u32,
        segments: u32,
    }
}

/// Shape of one launch. Operands by binding: x f32 `[m, 2 k]`, the gate first in each row, 1, codes 7, scales then
/// sums 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwigluQuantize {
    /// Rows.
    pub m: u32,
    /// Columns of the result: a multiple of 32.
    pub k: u32,
    /// Codes that share a sum: 8, 16 or 32.
    pub segment: u32,
}

#[derive(Debug, Clone, Copy)]
struct SwigluLaunch {
    shape: SwigluQuantize,
    codes: CodeBlocks,
}

impl SwigluQuantize {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, columns that are not whole blocks, other segments, and more elements than 32
    /// bits index.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let codes = CodeBlocks::new(NAME, [self.m, self.k, self.segment])?;
        check_index(
            NAME,
            "elements of x",
            2 * u64::from(self.m) * u64::from(self.k),
        )?;
        Ok(Arc::new(SwigluLaunch { shape: self, codes }))
    }
}

impl SwigluLaunch {
    fn computed(&self, operands: &HostOperands<'_>) -> Vec<Running> {
        let SwigluQuantize { m, k, .. } = self.shape;
        let x = operands.f32(X);
        let mut values = Vec::with_capacity(m as usize * k as usize);
        for row in x.chunks_exact(2 * k as usize).take(m as usize) {
            let (gates, factors) = row.split_at(k as usize);
            values.extend(gates.iter().zip(factors).map(|(&gate, &factor)| {
                let gate = Running::loaded(gate);
                gate * logistic(gate) * Running::loaded(factor)
            }));
        }
        values
    }
}

impl Launch for SwigluLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let SwigluQuantize { m, k, .. } = self.shape;
        format!("m={m} k={k} {}", self.codes.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let SwigluQuantize { m, k, .. } = self.shape;
        let mut slots = vec![read(X, "x", 8 * u64::from(m) * u64::from(k))];
        slots.extend(self.codes.slots());
        slots
    }

    fn params(&self) -> Vec<u8> {
        let codes = self.codes.params();
        bytemuck::bytes_of(&Params {
            rows: self.shape.m,
            row_blocks: codes.row_blocks,
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
        let blocks = u64::from(self.shape.m) * u64::from(self.codes.row_blocks());
        if blocks < 512 {
            return vec![lanes(8), lanes(64)];
        }
        vec![lanes(64), lanes(8)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        let blocks = u64::from(self.shape.m) * u64::from(self.codes.row_blocks());
        blocks.div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        Iterations {
            unrolled: 0,
            rolled: 3 * looped(8, 0) + looped(4, 0),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let values = self.computed(operands);
        let values: Vec<f64> = values.into_iter().map(|one| one.value).collect();
        self.codes.outputs(&values)
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let (m, k) = (self.shape.m as usize, self.shape.k as usize);
        let x = operands.f32(X);
        let mut y = vec![0.0; m * k];
        fill(
            &mut y,
            (k, 8 * k),
            || (),
            |(), row, y| {
                let (gates, factors) = x[row * 2 * k..(row + 1) * 2 * k].split_at(k);
                for (y, (&one, factor)) in y.iter_mut().zip(gates.iter().zip(factors)) {
                    *y = silu(one) * factor;
                }
            },
        );
        self.codes.fill(results, &y);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        self.codes.bounds(&self.computed(operands), |_| 0.0)
    }

    fn cost(&self) -> Cost {
        let elements = f64::from(self.shape.m) * f64::from(self.shape.k);
        // Those of swiglu and of quantize_rows.
        Cost {
            operations: 12.0 * elements,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let bytes = (&[(X, 8 * u64::from(self.shape.k))][..], &[][..]);
        self.codes.parts(1, bytes, (limit, alignment), |m, codes| {
            let shape = SwigluQuantize { m, ..self.shape };
            Arc::new(Self { shape, codes })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [m, k] = asked.extents("ROWSxCOLUMNS")?;
    let segment = BLOCK;
    Ok(SwigluQuantize { m, k, segment }.launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    // Fewer blocks than lanes and more, and more than a grid of few lanes is for.
    let mut shapes = vec![
        (1, 32, 32),
        (3, 96, 8),
        (2, 320, 16),
        (1, 1536, 32),
        (9, 256, 32),
        (17, 1056, 32),
    ];
    if effort == Effort::Full {
        shapes.extend([(1, 8192, 32), (70, 1536, 16)]);
    }
    let mut cases = Vec::new();
    for (index, (m, k, segment)) in shapes.into_iter().enumerate() {
        let shape = SwigluQuantize { m, k, segment };
        for data in [DataKind::Normal, DataKind::ALL[index % 7]] {
            cases.extend(case(shape, data, None));
        }
    }
    let few = SwigluQuantize {
        m: 3,
        k: 64,
        segment: 32,
    };
    for data in DataKind::ALL {
        cases.extend(case(few, data, None));
    }
    cases.extend(case(few, DataKind::Normal, Some(70)));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases.dedup_by(|a, b| a.name == b.name);
    cases
}

/// The case, with one element that is NaN where asked; `None` only when the shape itself is refused.
fn case(shape: SwigluQuantize, data: DataKind, nan: Option<usize>) -> Option<Case> {
    let mut x = data.values(u64::from(shape.k), 2 * (shape.m * shape.k) as usize);
    if let Some(at) = nan {
        x[at] = f32::NAN;
    }
    let operands = vec![(X, FloatType::F32.pack(&x))];
    let mut case = Case::new(shape.launch().ok()?, operands, data).bounded();
    if nan.is_some() {
        case.name.push_str(" nan");
    }
    Some(case)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "gate_without_its_own_factor",
        module: NAME,
        find: "return gate * share * value;",
        replace: "return share * value;",
    },
    Edit {
        name: "one_share_for_four",
        module: NAME,
        find: "logistic(gate.z)",
        replace: "logistic(gate.x)",
    },
    Edit {
        name: "halves_of_the_next_row",
        module: NAME,
        find: "block / params.row_blocks * 2u * half",
        replace: "block / params.row_blocks * half",
    },
    Edit {
        name: "value_is_the_gate",
        module: NAME,
        find: "x[start + half + quad]",
        replace: "x[start + quad]",
    },
    Edit {
        name: "no_guard",
        module: NAME,
        find: "block >= params.rows * params.row_blocks",
        replace: "block > params.rows * params.row_blocks",
    },
    Edit {
        name: "sums_of_the_first_eight",
        module: "code_blocks/store",
        find: "sums[quad / 2u] +=",
        replace: "sums[quad / 8u] =",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "rows gated by silu, stored as int8 codes with a scale for every 32",
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
    fn parts_make_what_the_whole_makes() {
        let shape = SwigluQuantize {
            m: 9,
            k: 64,
            segment: 16,
        };
        let case = case(shape, DataKind::Normal, None).expect("a good shape");
        let launch = shape.launch().expect("a good shape");
        let n = check_parts(launch.as_ref(), &case.operands, 1100, 16);
        assert!(n > 1, "{n}");
    }
}
