//! The adapter's limits, probed by the kernel `roofline`: the best variant of each probe.

use serde::{Deserialize, Serialize};

use crate::engine::{EngineError, GpuEngine};
use crate::kernels::roofline::{Probe, Roofline};
use crate::record::{Build, usable_variants};
use crate::shader::Capabilities;

use super::timing::{Effort, Method, OnTurn, Timing, time_variants};

/// Independent chains of arithmetic that are tried.
const CHAINS: [u32; 3] = [2, 4, 1];

/// A probe is one number: what is clearly slower need not be known well.
const EFFORT: Effort = Effort {
    give_up: 1.2,
    ..Effort::TUNE
};

/// Rate of one probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// What was probed: `read`, `copy`, `fma f32`, ..
    pub name: String,
    /// 10^9 bytes or operations a second.
    pub rate: f64,
    /// Spread of the times it comes from, as a share of their median.
    pub spread: f64,
    /// The variant that reached it.
    pub variant: String,
}

/// The limits of one adapter, as far as probes reach them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rooflines {
    /// How the probes were timed.
    pub method: Method,
    /// GB/s: read and copy.
    pub memory: Vec<Roof>,
    /// GFLOP/s or GOP/s: f32, f16 where present, dot4I8Packed.
    pub compute: Vec<Roof>,
}

impl Rooflines {
    /// Probes an adapter; takes a few seconds.
    ///
    /// # Errors
    /// Device errors.
    pub fn probe(engine: &GpuEngine, on_turn: &mut OnTurn<'_>) -> Result<Self, EngineError> {
        let mut rooflines = Self {
            method: Method::Timestamps,
            memory: Vec::new(),
            compute: Vec::new(),
        };
        for probe in Probe::ALL {
            if probe == Probe::FmaF16 && !engine.capabilities().f16 {
                continue;
            }
            let moves = matches!(probe, Probe::Read | Probe::ReadRuns | Probe::Copy);
            let mut best: Option<Roof> = None;
            for chains in if moves { &CHAINS[..1] } else { &CHAINS[..] } {
                let shape = shape(probe, *chains, engine.capabilities());
                let Ok(launch) = shape.launch() else {
                    continue;
                };
                let cost = launch.cost();
                let work = if moves { cost.bytes } else { cost.operations };
                let variants =
                    usable_variants(launch.as_ref(), engine.capabilities(), Build::Trusted);
                let (method, measured) =
                    time_variants(engine, &launch, &variants, EFFORT, on_turn)?;
                rooflines.method = method;
                for one in &measured {
                    let Ok(timing) = &one.timing else {
                        continue;
                    };
                    let name = format!("{} of {}", one.variant, launch.describe());
                    let roof = roof(probe, work, timing, name);
                    if best.as_ref().is_none_or(|best| best.rate < roof.rate) {
                        best = Some(roof);
                    }
                }
            }
            if probe == Probe::ReadRuns {
                rooflines.raise_read(best);
            } else if moves {
                rooflines.memory.extend(best);
            } else {
                rooflines.compute.extend(best);
            }
        }
        Ok(rooflines)
    }

    /// Reading is limited by the faster of two ways to read.
    fn raise_read(&mut self, other: Option<Roof>) {
        let Some(other) = other else {
            return;
        };
        match self.memory.iter_mut().find(|roof| roof.name == "read") {
            Some(read) if read.rate >= other.rate => {}
            Some(read) => {
                *read = Roof {
                    name: read.name.clone(),
                    ..other
                };
            }
            None => self.memory.push(Roof {
                name: "read".to_owned(),
                ..other
            }),
        }
    }

    /// Rate of a probe by name.
    pub fn rate(&self, name: &str) -> Option<f64> {
        let roofs = self.memory.iter().chain(&self.compute);
        roofs
            .into_iter()
            .find(|roof| roof.name == name)
            .map(|roof| roof.rate)
    }
}

fn roof(probe: Probe, work: f64, timing: &Timing, variant: String) -> Roof {
    Roof {
        name: probe.name().to_owned(),
        rate: work / timing.median_ns,
        spread: timing.spread(),
        variant,
    }
}

/// Memory past most caches where the binding limit allows, sixteen elements an invocation, so that neighbours
/// read neighbouring memory at about the same time; arithmetic for some milliseconds.
fn shape(probe: Probe, chains: u32, capabilities: &Capabilities) -> Roofline {
    match probe {
        Probe::Read | Probe::ReadRuns | Probe::Copy => {
            // Runs are long enough for memory to see them coming.
            let steps = if probe == Probe::ReadRuns { 1024 } else { 16 };
            let bytes = capabilities.max_binding_bytes.min(128 << 20);
            Roofline {
                probe,
                count: (bytes / u64::from(16 * steps)).max(1) as u32,
                steps,
                chains,
            }
        }
        Probe::FmaF32 | Probe::FmaF16 | Probe::Dot4 => {
            let (count, steps) = if capabilities.software {
                (1 << 10, 1 << 14)
            } else {
                (1 << 16, 1 << 12)
            };
            Roofline {
                probe,
                count,
                steps,
                chains,
            }
        }
    }
}
