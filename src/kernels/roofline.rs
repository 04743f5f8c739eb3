//! Probes of what an adapter can do at most: bytes read or copied, and multiply-adds in f32, in f16 and by
//! the integer dot product. Other kernels' rates are shares of these.
//!
//! The arithmetic is exact, so that the probes are verified like any kernel. Multiply-adds are
//! `x <- x * factor + addend` with a factor of -1 and integers, both read from memory; integer sums
//! are `s <- s + sum over bytes of s * factor`, modulo 2^32. Each invocation deals its steps to
//! some chains of four lanes, because an adapter hides latency by several, and takes one step more in
//! each; chain c of invocation i starts at `i mod 61 + c` and the three integers behind. The output is
//! the exclusive or of the bits of all chains.

use std::sync::Arc;

use crate::num::Philox;
use crate::record::{
    Access, Bound, Cost, HostOperands, Iterations, Launch, Output, Slot, Values, params,
};
use crate::shader::{Capabilities, Edit, Variant};

use super::iterations::looped;
use super::shape::{ShapeError, check_extents, check_index, check_multiple};
use super::{Case, DataKind, Effort, Kernel, Workload, WorkloadError};

const NAME: &str = "roofline";
const DATA: u32 = 1;
const OUT: u32 = 8;

/// Steps of a chain in one pass of the loop, `REPEATS` in the shader.
const REPEATS: u32 = 16;

/// Factor and addend of the multiply-adds, as f32.
const FLOATS: [f32; 2] = [-1.0, 97.0];
/// Four bytes that sums are multiplied with.
const BYTES: u32 = 0x01fe_7f80;

params! {
    struct Params {
        count: u32,
        steps: u32,
    }
}

/// What is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Bytes read, neighbouring invocations side by side.
    Read,
    /// Bytes read, each invocation along a run of its own.
    ReadRuns,
    /// Bytes read and written.
    Copy,
    /// f32 multiply-adds.
    FmaF32,
    /// f16 multiply-adds, where the adapter has them.
    FmaF16,
    /// `dot4I8Packed`, each result added to a sum: four multiplies and four adds.
    Dot4,
}

/// One probe: `count` invocations of `steps` steps. A step is sixteen bytes, or four operations of the
/// kind, of which a multiply-add counts two and a dot product eight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roofline {
    /// What.
    pub probe: Probe,
    /// Invocations.
    pub count: u32,
    /// Steps of each, all chains together: a multiple of 16 times the chains for arithmetic.
    pub steps: u32,
    /// Independent chains of each, for arithmetic.
    pub chains: u32,
}

impl Probe {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::ReadRuns,
        Self::Copy,
        Self::FmaF32,
        Self::FmaF16,
        Self::Dot4,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadRuns => "read runs",
            Self::Copy => "copy",
            Self::FmaF32 => "fma f32",
            Self::FmaF16 => "fma f16",
            Self::Dot4 => "dot4I8Packed",
        }
    }

    const fn moves_memory(self) -> bool {
        matches!(self, Self::Read | Self::ReadRuns | Self::Copy)
    }
}

impl Roofline {
    /// Checks the extents and makes a launch of the probe.
    ///
    /// # Errors
    /// [`ShapeError`] for nothing to do, steps that chains cannot share, or memory past 32-bit indices.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        check_extents(
            NAME,
            &[("count", self.count.into()), ("steps", self.steps.into())],
        )?;
        check_index(
            NAME,
            "count * steps",
            u64::from(self.count) * u64::from(self.steps),
        )?;
        if !self.probe.moves_memory() {
            check_extents(NAME, &[("chains", self.chains.into())])?;
            let pass = (
                "one pass of all chains,",
                u64::from(self.chains) * u64::from(REPEATS),
            );
            check_multiple(NAME, ("steps", self.steps.into()), pass)?;
        }
        Ok(Arc::new(self))
    }

    fn chains(&self, folded: impl Fn(u32) -> u32) -> Vec<u32> {
        (0..self.count).map(|index| folded(index % 61)).collect()
    }

    /// Steps of each chain.
    const fn chain_steps(&self) -> u32 {
        self.steps / self.chains + 1
    }

    /// Exclusive or of the bits of four lanes of each chain, the first of which starts at `start`.
    fn fold(&self, start: u32, lane: impl Fn(u32) -> u32) -> u32 {
        let starts = (0..self.chains).flat_map(|chain| start + chain..start + chain + 4);
        starts.map(lane).fold(0, |a, b| a ^ b)
    }
}

impl Launch for Roofline {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Self {
            probe,
            count,
            steps,
            chains,
        } = self;
        format!(
            "{} count={count} steps={steps} chains={chains}",
            probe.name()
        )
    }

    fn slots(&self) -> Vec<Slot> {
        let streamed = 16 * u64::from(self.count) * u64::from(self.steps);
        let data = if self.probe.moves_memory() {
            streamed
        } else {
            8
        };
        let out = match self.probe {
            Probe::Copy => streamed,
            Probe::Read | Probe::ReadRuns | Probe::FmaF32 | Probe::FmaF16 | Probe::Dot4 => {
                4 * u64::from(self.count)
            }
        };
        let slot = |binding, name, access, bytes| Slot {
            binding,
            name,
            access,
            bytes,
        };
        vec![
            slot(DATA, "data", Access::Read, data),
            slot(OUT, "out", Access::Write, out),
        ]
    }

    fn params(&self) -> Vec<u8> {
        let params = Params {
            count: self.count,
            steps: self.steps,
        };
        bytemuck::bytes_of(&params).to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let sizes: [u32; 2] = if capabilities.software {
            [8, 64]
        } else {
            [64, 256]
        };
        let entry = |name| {
            let sized = |size| Variant::new(name).number("WORKGROUP_SIZE", size);
            sizes.map(sized).to_vec()
        };
        let chain = match self.probe {
            Probe::Read | Probe::ReadRuns => {
                let both = entry(if self.probe == Probe::Read {
                    "roofline/read"
                } else {
                    "roofline/read_runs"
                });
                let both = both.into_iter();
                return both
                    .flat_map(|one| [1, 8].map(|loads| one.clone().number("IN_FLIGHT", loads)))
                    .collect();
            }
            Probe::Copy => return entry("roofline/copy"),
            Probe::FmaF32 => "fma_f32",
            // Without f16 the launch is still defined; its results are the same numbers.
            Probe::FmaF16 => {
                if capabilities.f16 {
                    "fma_f16"
                } else {
                    "fma_f32"
                }
            }
            Probe::Dot4 => "dot4",
        };
        let sized = |size| {
            let variant = Variant::new(NAME).slot("chain", chain);
            variant
                .number("CHAINS", self.chains)
                .number("WORKGROUP_SIZE", size)
        };
        sizes.map(sized).to_vec()
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        u64::from(self.count).div_ceil(variant.get("WORKGROUP_SIZE").into())
    }

    fn iterations(&self, _: &Variant) -> Iterations {
        if self.probe.moves_memory() {
            let steps = looped(self.steps.into(), 0) + 4 * looped(8, 0);
            return Iterations {
                unrolled: steps,
                // One more look at the inner loop for each load.
                rolled: 3 * steps,
            };
        }
        let chains = u64::from(self.chains);
        let passes = u64::from(self.steps / REPEATS) / chains;
        let pass = looped(REPEATS.into(), looped(chains, 0));
        Iterations {
            unrolled: looped(passes, 0),
            rolled: looped(passes, pass) + 2 * looped(chains, 0),
        }
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let data = operands.words(DATA);
        let words = match self.probe {
            Probe::Copy => data[..4 * self.count as usize * self.steps as usize].to_vec(),
            Probe::Read | Probe::ReadRuns => {
                let (count, steps) = (self.count as usize, self.steps as usize);
                let folded = |index: usize| {
                    let step = |step| match self.probe {
                        Probe::ReadRuns => 4 * (index * steps + step),
                        _ => 4 * (step * count + index),
                    };
                    let words =
                        (0..self.steps as usize).flat_map(|at| &data[step(at)..step(at) + 4]);
                    words.fold(0, |a, b| a ^ b)
                };
                (0..self.count as usize).map(folded).collect()
            }
            Probe::FmaF32 | Probe::FmaF16 => {
                let [factor, addend] = [data[0], data[1]].map(f32::from_bits);
                self.chains(|start| {
                    self.fold(start, |lane| {
                        let step = |value: f32, _| value * factor + addend;
                        (0..self.chain_steps()).fold(lane as f32, step).to_bits()
                    })
                })
            }
            Probe::Dot4 => {
                let factor = data[0].to_le_bytes().map(|byte| i32::from(byte as i8));
                let dot = |sum: i32| -> i32 {
                    let bytes = sum.to_le_bytes().map(|byte| i32::from(byte as i8));
                    bytes.iter().zip(factor).map(|(a, b)| a * b).sum()
                };
                self.chains(|start| {
                    self.fold(start, |lane| {
                        let step = |sum: i32, _| sum.wrapping_add(dot(sum));
                        (0..self.chain_steps()).fold(lane as i32, step) as u32
                    })
                })
            }
        };
        vec![Output::new(OUT, Values::Words(words))]
    }

    fn bound(&self, _: &HostOperands<'_>) -> Vec<Bound> {
        vec![Bound::Exact]
    }

    fn cost(&self) -> Cost {
        let steps = f64::from(self.count) * f64::from(self.steps);
        let taken = steps + f64::from(self.count) * f64::from(self.chains);
        let (operations, bytes) = match self.probe {
            Probe::Read | Probe::ReadRuns => (0.0, 16.0 * steps),
            Probe::Copy => (0.0, 32.0 * steps),
            Probe::FmaF32 | Probe::FmaF16 => (8.0 * taken, 4.0 * f64::from(self.count)),
            Probe::Dot4 => (32.0 * taken, 4.0 * f64::from(self.count)),
        };
        Cost { operations, bytes }
    }

    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        let words = match self.probe {
            Probe::Read | Probe::ReadRuns | Probe::Copy => {
                let mut random = Philox::new(seed).stream(0);
                let count = 4 * u64::from(self.count) * u64::from(self.steps);
                (0..count).map(|_| random.next_u32()).collect()
            }
            Probe::FmaF32 | Probe::FmaF16 => FLOATS.map(f32::to_bits).to_vec(),
            Probe::Dot4 => vec![BYTES, 0],
        };
        vec![(DATA, words)]
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [count, steps] = asked.extents("COUNTxSTEPS")?;
    let probe = asked.choose(&[
        ("read", Probe::Read),
        ("read-runs", Probe::ReadRuns),
        ("copy", Probe::Copy),
        ("fma-f32", Probe::FmaF32),
        ("fma-f16", Probe::FmaF16),
        ("dot4", Probe::Dot4),
    ]);
    let shape = Roofline {
        probe: probe.unwrap_or(Probe::FmaF32),
        count,
        steps,
        chains: 2,
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "probes of the adapter's limits: bytes read and copied, multiply-adds, dot products",
    workload,
    cases,
    broken: BROKEN,
    expected_failures: &[],
};

fn cases(effort: Effort) -> Vec<Case> {
    let shapes: &[(u32, u32)] = match effort {
        Effort::Quick => &[(100, 64), (7, 128), (33, 64)],
        Effort::Full => &[(100, 64), (7, 128), (1, 1024), (5000, 64), (257, 192)],
    };
    let mut cases = Vec::new();
    for probe in Probe::ALL {
        for (&(count, steps), chains) in shapes.iter().zip([1, 2, 4].into_iter().cycle()) {
            let shape = Roofline {
                probe,
                count,
                steps,
                chains,
            };
            if let Ok(launch) = shape.launch() {
                let operands = launch.example(u64::from(count));
                cases.push(Case::new(launch, operands, DataKind::Integers));
            }
        }
    }
    cases
}

const BROKEN: &[Edit] = &[
    Edit {
        name: "last_steps_dropped",
        module: "roofline",
        find: "step < params.steps;",
        replace: "step + CHAINS * REPEATS < params.steps;",
    },
    Edit {
        name: "chains_start_alike",
        module: "roofline",
        find: "start(index % 61u + chain)",
        replace: "start(chain)",
    },
    Edit {
        name: "addend_forgotten",
        module: "chain/fma_f32",
        find: "vec4<f32>(bitcast<f32>(addend))",
        replace: "vec4<f32>(0.0)",
    },
    Edit {
        name: "f16_factor_of_the_other_sign",
        module: "chain/fma_f16",
        find: "f16(bitcast<f32>(factor))",
        replace: "f16(-bitcast<f32>(factor))",
    },
    Edit {
        name: "unsigned_dot",
        module: "chain/dot4",
        find: "dot4I8Packed(bitcast<u32>(sum), factor)",
        replace: "i32(dot4U8Packed(bitcast<u32>(sum), factor))",
    },
    Edit {
        name: "runs_overlap",
        module: "roofline/read_runs",
        find: "index * params.steps;",
        replace: "index * (params.steps - 1u);",
    },
    Edit {
        name: "first_element_not_read",
        module: "roofline/read",
        find: "var step = 0u;",
        replace: "var step = min(1u, params.steps);",
    },
    Edit {
        name: "last_invocation_does_not_copy",
        module: "roofline/copy",
        find: "if (index >= params.count)",
        replace: "if (index + 1u >= params.count)",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_steps_that_chains_cannot_share() {
        let shape = |probe, count, steps| Roofline {
            probe,
            count,
            steps,
            chains: 4,
        };
        assert!(shape(Probe::Read, 1, 3).launch().is_ok());
        assert!(matches!(
            shape(Probe::Dot4, 1, 32).launch().err(),
            Some(ShapeError::NotMultiple { name: "steps", .. })
        ));
        assert!(matches!(
            shape(Probe::Copy, 0, 4).launch().err(),
            Some(ShapeError::Zero { name: "count", .. })
        ));
    }

    #[test]
    fn a_multiply_add_counts_two_and_a_dot_product_eight() {
        let cost = |probe| {
            let launch = Roofline {
                probe,
                count: 10,
                steps: 4,
                chains: 1,
            };
            launch.cost()
        };
        assert_eq!(cost(Probe::FmaF32).operations, 10.0 * 5.0 * 4.0 * 2.0);
        assert_eq!(cost(Probe::Dot4).operations, 10.0 * 5.0 * 4.0 * 8.0);
        assert_eq!(cost(Probe::Copy).bytes, 10.0 * 4.0 * 32.0);
    }
}
