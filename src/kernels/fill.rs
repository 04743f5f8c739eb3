//! One word everywhere: `out[i] = value` for `count` 32-bit words. Gives memory that later launches
//! write only in part a defined content.

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Part, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::shape::{ShapeError, check_extents};
use super::split::{Streams, cut};
use super::{Case, DataKind, Effort, Kernel, Workload, WorkloadError};

const NAME: &str = "fill";
const OUT: u32 = 8;

params! {
    struct Params {
        count: u32,
        value: u32,
    }
}

/// A fill of `count` words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// 32-bit words.
    pub count: u32,
    /// Bits of each: those of an f32, two f16, an integer.
    pub value: u32,
}

impl Fill {
    /// Checks the extent and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError::Zero`] for no words.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_extents(NAME, &[("count", self.count.into())])?;
        Ok(Arc::new(self))
    }
}

impl Launch for Fill {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        format!("count={} value={:#x}", self.count, self.value)
    }

    fn slots(&self) -> Vec<Slot> {
        let bytes = 4 * u64::from(self.count);
        vec![Slot {
            binding: OUT,
            name: "out",
            access: Access::Write,
            bytes,
        }]
    }

    fn params(&self) -> Vec<u8> {
        bytemuck::bytes_of(&Params {
            count: self.count,
            value: self.value,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        vec![Variant::new(NAME).number("WORKGROUP_SIZE", 64)]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        u64::from(self.count).div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        Iterations::default()
    }

    fn reference(&self, _: &HostOperands<'_>) -> Vec<Output> {
        vec![Output::new(
            OUT,
            Values::Words(vec![self.value; self.count as usize]),
        )]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        Cost {
            operations: 0.0,
            bytes: 4.0 * f64::from(self.count),
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let streams = Streams {
            by_row: vec![(OUT, 4)],
            ..Streams::default()
        };
        let part = |tile: super::split::Tile| Part {
            launch: Arc::new(Self {
                count: tile.rows.end - tile.rows.start,
                ..*self
            }),
            ranges: tile.ranges,
        };
        Some(
            cut(self.count, 1, &streams, max_bytes, alignment)?
                .into_iter()
                .map(part)
                .collect(),
        )
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count] = asked.extents("COUNT")?;
    Ok(Fill { count, value: 0 }.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "one 32-bit word everywhere",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let mut counts = vec![1, 63, 64, 65, 3000];
    if effort == Effort::Full {
        counts.push(1 << 20);
    }
    let case = |count: u32| {
        let launch = Fill {
            count,
            value: 0x3f80_0000 | count,
        }
        .launch()
        .ok()?;
        Some(Case::new(launch, Vec::new(), DataKind::Integers))
    };
    counts.into_iter().filter_map(case).collect()
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "written_past_the_end",
        module: NAME,
        find: "index < params.count",
        replace: "index <= params.count",
    },
    Edit {
        name: "last_word_missing",
        module: NAME,
        find: "index < params.count",
        replace: "index + 1u < params.count",
    },
    Edit {
        name: "count_written",
        module: NAME,
        find: "out[index] = params.value",
        replace: "out[index] = params.count",
    },
    Edit {
        name: "every_other_word",
        module: NAME,
        find: "out[index] =",
        replace: "out[index & 0xfffffffeu] =",
    },
    Edit {
        name: "first_workgroup_only",
        module: NAME,
        find: "linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane",
        replace: "linear_workgroup(workgroup, workgroups) * 0u + lane",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_no_words() {
        let error = Fill { count: 0, value: 1 }.launch().err();
        assert_eq!(
            error,
            Some(ShapeError::Zero {
                kernel: NAME,
                name: "count"
            })
        );
    }
}
