//! The cheap model that puts variants in order before anything was measured: padded work over a rough
//! speed, stretched where there are too few workgroups to keep the adapter busy.
//!
//! Speeds are relative numbers within one class of adapter. Those of software adapters were measured on
//! lavapipe (docs/performance.md); those of hardware are rules of thumb. A tuner replaces all of them.

use crate::shader::{Capabilities, Variant};

/// What the model knows of one variant of one launch.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub variant: Variant,
    /// Outputs computed, those past the edges included.
    pub outputs: f64,
    pub workgroups: u64,
    /// Relative speed on a CPU and on hardware.
    pub speed: Speed,
}

/// Relative speed of a full tile on the two classes of adapters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed {
    pub software: f64,
    pub hardware: f64,
}

/// Workgroups that run at once: cores, or a mid-size GPU's compute units times two.
const BUSY_SOFTWARE: u64 = 4;
const BUSY_HARDWARE: u64 = 64;

/// Variants, best guess first; equals stay in the order given.
pub(super) fn order(mut candidates: Vec<Candidate>, capabilities: &Capabilities) -> Vec<Variant> {
    candidates.sort_by(|a, b| score(a, capabilities).total_cmp(&score(b, capabilities)));
    candidates.into_iter().map(|one| one.variant).collect()
}

fn score(one: &Candidate, capabilities: &Capabilities) -> f64 {
    let (busy, speed) = if capabilities.software {
        (BUSY_SOFTWARE, one.speed.software)
    } else {
        (BUSY_HARDWARE, one.speed.hardware)
    };
    let idle = (one.workgroups.div_ceil(busy) * busy) as f64 / one.workgroups.max(1) as f64;
    one.outputs * idle / speed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_tile_loses_where_most_of_it_is_padding_or_most_of_the_adapter_idle() {
        let candidate = |name, outputs, workgroups, speed| Candidate {
            variant: Variant::new(name),
            outputs,
            workgroups,
            speed: Speed {
                software: speed,
                hardware: speed,
            },
        };
        let first = |candidates| order(candidates, &Capabilities::portable())[0].clone();
        let full = vec![
            candidate("small", 1e6, 4096, 1.0),
            candidate("large", 1e6, 256, 2.0),
        ];
        assert_eq!(first(full).entry(), "large");
        let padded = vec![
            candidate("small", 1e6, 4096, 1.0),
            candidate("large", 3e6, 256, 2.0),
        ];
        assert_eq!(first(padded).entry(), "small");
        let idle = vec![
            candidate("small", 1e4, 64, 1.0),
            candidate("large", 1e4, 4, 2.0),
        ];
        assert_eq!(first(idle).entry(), "small");
    }
}
