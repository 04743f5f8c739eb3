//! RMS normalization whose rows are stored as int8 codes in blocks of 32, as `quantize_rows` stores those of `norm`:
//! what integer products read in a decoder, in one launch and without the rows in between.
//!
//! The factor `1 / sqrt(mean of x^2 + epsilon)` is common to a row, so its error moves scales and no code.

use std::sync::Arc;

use crate::record::{
    Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::code_blocks::{BLOCK, CodeBlocks};
use super::fast::{fill, squares};
use super::iterations::looped;
use super::norm::check_settings;
use super::rows::{read, slot_bytes};
use super::running::Running;
use super::shape::ShapeError;
use super::{Case, DataKind, Effort, FloatType, Kernel, Workload, WorkloadError};

const NAME: &str = "norm_quantize";
const X: u32 = 1;
const GAMMA: u32 = 2;

params! {
    struct Params {
        rows: u32,
        row_blocks: u32,
        scales_start: u32,
        sums_start: u32,
        segments: u32,
        epsilon: f32,
    }
}

/// Shape of one normalization. Operands by binding: x f32 `[m, k]` 1, gamma f32 `[k]` 2, codes 7, scales then sums 8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormQuantize {
    /// Rows.
    pub m: u32,
    /// Columns: a multiple of 32.
    pub k: u32,
    /// Added to the mean of the squares.
    pub epsilon: f32,
    /// Codes that share a sum: 8, 16 or 32.
    pub segment: u32,
}

#[derive(Debug, Clone, Copy)]
struct NormLaunch {
    shape: NormQuantize,
    codes: CodeBlocks,
}

impl NormQuantize {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, columns that are not whole blocks, other segments, and an epsilon out of
    /// range.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_settings(NAME, self.epsilon, 0.0)?;
        let codes = CodeBlocks::new(NAME, [self.m, self.k, self.segment])?;
        Ok(Arc::new(NormLaunch { shape: self, codes }))
    }
}

/// A row's factor as it is in f64, and how far it may be off in f32.
fn factor(row: &[f32], epsilon: f32) -> Running {
    let squares = Running::sum(row.iter().map(|&value| {
        let value = Running::loaded(value);
        value * value
    }));
    let mean = squares / Running::exact(row.len() as f64);
    (mean + Running::loaded(epsilon)).inverse_sqrt()
}

impl NormLaunch {
    /// Values and what they may be off by alone, and for each row the relative error they have in common.
    fn computed(&self, operands: &HostOperands<'_>) -> (Vec<Running>, Vec<f64>) {
        let k = self.shape.k as usize;
        let gamma = operands.f32(GAMMA);
        let (mut values, mut common) = (Vec::new(), Vec::new());
        for row in operands.f32(X).chunks_exact(k).take(self.shape.m as usize) {
            let factor = factor(row, self.shape.epsilon);
            let exact = Running::exact(factor.value);
            common.push(factor.error / factor.value);
            let products = row.iter().zip(gamma);
            values.extend(
                products.map(|(&value, &gamma)| {
                    Running::loaded(value) * exact * Running::loaded(gamma)
                }),
            );
        }
        (values, common)
    }
}

impl Launch for NormLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let NormQuantize { m, k, epsilon, .. } = self.shape;
        format!("m={m} k={k} epsilon={epsilon} {}", self.codes.describe())
    }

    fn slots(&self) -> Vec<Slot> {
        let NormQuantize { m, k, .. } = self.shape;
        let mut slots = vec![
            read(X, "x", 4 * u64::from(m) * u64::from(k)),
            read(GAMMA, "gamma", 4 * u64::from(k)),
        ];
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
            epsilon: self.shape.epsilon,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let many = |reduce, lanes| {
            Variant::new(NAME)
                .slot("reduce", reduce)
                .number("WORKGROUP_SIZE", lanes)
        };
        let mut variants = vec![many("shared", 64)];
        if capabilities.subgroups {
            variants.push(many("subgroup", 64));
        }
        // One of a CPU's vectors a row.
        let size = capabilities.subgroup_size();
        if let Some(size) = size.filter(|_| capabilities.software) {
            variants.insert(0, many("subgroup", size));
        }
        variants
    }

    fn workgroups(&self, _: &Variant) -> u64 {
        self.shape.m.into()
    }

    fn iterations(&self, variant: &Variant) -> Iterations {
        let lanes = u64::from(variant.get("WORKGROUP_SIZE"));
        let blocks = u64::from(self.codes.row_blocks());
        let (sum, stored) = ((8 * blocks).div_ceil(lanes), blocks.div_ceil(lanes));
        let before = looped(sum, 0) + looped(lanes, 0);
        Iterations {
            unrolled: before + looped(stored, 0),
            rolled: before + looped(stored, 3 * looped(8, 0) + looped(4, 0)),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let (values, _) = self.computed(operands);
        let values: Vec<f64> = values.into_iter().map(|one| one.value).collect();
        self.codes.outputs(&values)
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let NormQuantize { m, k, epsilon, .. } = self.shape;
        let (m, k) = (m as usize, k as usize);
        let (x, gamma) = (operands.f32(X), &operands.f32(GAMMA)[..k]);
        let mut y = vec![0.0; m * k];
        fill(
            &mut y,
            (k, 2 * k),
            || (),
            |(), row, y| {
                let x = &x[row * k..(row + 1) * k];
                let factor = 1.0 / (squares(x, 0.0) / k as f32 + epsilon).sqrt();
                for (y, (x, gamma)) in y.iter_mut().zip(x.iter().zip(gamma)) {
                    *y = x * factor * gamma;
                }
            },
        );
        self.codes.fill(results, &y);
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let (values, common) = self.computed(operands);
        let row_blocks = self.codes.row_blocks() as usize;
        self.codes
            .bounds(&values, |block| common[block / row_blocks])
    }

    fn cost(&self) -> Cost {
        let elements = f64::from(self.shape.m) * f64::from(self.shape.k);
        // Square and sum, two products, and the six operations of quantize_rows.
        Cost {
            operations: 10.0 * elements,
            bytes: slot_bytes(&self.slots()),
        }
    }

    fn split(&self, limit: u64, alignment: u64) -> Option<Vec<Part>> {
        let row = 4 * u64::from(self.shape.k);
        let bytes = (&[(X, row)][..], &[(GAMMA, row)][..]);
        self.codes.parts(1, bytes, (limit, alignment), |m, codes| {
            let shape = NormQuantize { m, ..self.shape };
            Arc::new(Self { shape, codes })
        })
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [m, k] = asked.extents("ROWSxCOLUMNS")?;
    let shape = NormQuantize {
        m,
        k,
        epsilon: 1e-5,
        segment: BLOCK,
    };
    Ok(shape.launch()?)
}

fn cases(effort: Effort) -> Vec<Case> {
    // Fewer blocks than lanes, as many, more; quads that lanes do not share evenly.
    let mut shapes = vec![
        (1, 32, 32),
        (3, 96, 8),
        (2, 256, 16),
        (1, 576, 32),
        (9, 256, 32),
        (9, 2080, 32),
    ];
    if effort == Effort::Full {
        shapes.extend([(1, 4096, 32), (33, 576, 16)]);
    }
    let mut cases = Vec::new();
    for (index, (m, k, segment)) in shapes.into_iter().enumerate() {
        let shape = NormQuantize {
            m,
            k,
            epsilon: [1e-5, 1e-6][index % 2],
            segment,
        };
        for data in [DataKind::Normal, DataKind::ALL[index % 7]] {
            cases.extend(case(shape, data, None));
        }
    }
    let few = NormQuantize {
        m: 5,
        k: 64,
        epsilon: 1e-5,
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
fn case(shape: NormQuantize, data: DataKind, nan: Option<usize>) -> Option<Case> {
    let mut x = data.values(u64::from(shape.k), (shape.m * shape.k) as usize);
    if let Some(at) = nan {
        x[at] = f32::NAN;
    }
    let gamma = DataKind::Normal.values(1, shape.k as usize);
    let operands = vec![
        (X, FloatType::F32.pack(&x)),
        (GAMMA, FloatType::F32.pack(&gamma)),
    ];
    let mut case = Case::new(shape.launch().ok()?, operands, data).bounded();
    if nan.is_some() {
        case.name.push_str(" nan");
    }
    Some(case)
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "mean_of_a_quad_fewer",
        module: NAME,
        find: "quad < quads;",
        replace: "quad + 1u < quads;",
    },
    Edit {
        name: "epsilon_left_out",
        module: NAME,
        find: " + params.epsilon",
        replace: "",
    },
    Edit {
        name: "factors_of_the_first_block",
        module: NAME,
        find: "* gamma[at]",
        replace: "* gamma[quad]",
    },
    Edit {
        name: "sum_counted_as_mean",
        module: NAME,
        find: "squares / f32(4u * quads)",
        replace: "squares / f32(quads)",
    },
    Edit {
        name: "blocks_of_the_first_row",
        module: NAME,
        find: "store_block(row * params.row_blocks + block",
        replace: "store_block(block",
    },
    Edit {
        name: "largest_value_instead_of_magnitude",
        module: "code_blocks/store",
        find: "magnitude_bits(values[quad])",
        replace: "bitcast<vec4<u32>>(max(values[quad], vec4<f32>()))",
    },
    Edit {
        name: "upper_half_is_the_lower",
        module: "code_blocks/store",
        find: "vec4<u32>(words[4], words[5], words[6], words[7])",
        replace: "vec4<u32>(words[0], words[1], words[2], words[3])",
    },
    Edit {
        name: "sums_of_pairs_not_added",
        module: "code_blocks/store",
        find: "if (place.segments < 2u)",
        replace: "if (place.segments < 1u)",
    },
    Edit {
        name: "second_sum_of_two_is_of_a_quarter",
        module: "code_blocks/store",
        find: "sums[1] = sums[2] + sums[3];",
        replace: "sums[1] = sums[2];",
    },
    Edit {
        name: "scale_of_the_first_segment_only",
        module: "code_blocks/store",
        find: "if (segment < place.segments)",
        replace: "if (segment < 1u)",
    },
];

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "RMS normalization stored as int8 codes with a scale for every 32",
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
    fn rejects_broken_blocks_and_an_epsilon_out_of_range() {
        let shape = NormQuantize {
            m: 2,
            k: 64,
            epsilon: 1e-5,
            segment: 32,
        };
        assert!(shape.launch().is_ok());
        let odd = NormQuantize { k: 48, ..shape };
        assert!(matches!(
            odd.launch(),
            Err(ShapeError::NotMultiple { name: "k", .. })
        ));
        let none = NormQuantize {
            epsilon: 0.0,
            ..shape
        };
        assert!(matches!(none.launch(), Err(ShapeError::Unsupported { .. })));
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let shape = NormQuantize {
            m: 9,
            k: 64,
            epsilon: 1e-5,
            segment: 16,
        };
        let case = case(shape, DataKind::Normal, None).expect("a good shape");
        let launch = shape.launch().expect("a good shape");
        let n = check_parts(launch.as_ref(), &case.operands, 700, 16);
        assert!(n > 1, "{n}");
    }
}
