//! From dispatches to steps: the variant is chosen, operands over the binding limit are cut, and the
//! workgroup count is folded over two dimensions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::engine::{Choices, EngineError};
use crate::record::{Build, Dispatch, Launch, padded_bytes, usable_variants};
use crate::shader::Capabilities;

use super::pipelines::Request;

/// One dispatch call as the device will see it.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub request: Request,
    pub params: Vec<u8>,
    pub grid: [u32; 2],
    /// Byte range of each binding inside its buffer.
    pub ranges: BTreeMap<u32, Range<u64>>,
    /// Operations and bytes, for the submit budget.
    pub work: f64,
}

pub(super) fn lower(
    dispatch: &Dispatch,
    choices: &Choices,
    capabilities: &Capabilities,
    build: Build,
) -> Result<Vec<Step>, EngineError> {
    let launch = &dispatch.launch;
    let whole: BTreeMap<u32, Range<u64>> = launch
        .slots()
        .iter()
        .map(|slot| {
            let bound = dispatch
                .bindings
                .iter()
                .find(|binding| binding.binding == slot.binding);
            // Bound to the buffer's end where that fits, so that a write past the operand is seen by
            // guard words instead of being hidden by the binding's size.
            let available = bound.map_or(0, |binding| binding.buffer.bytes());
            let end = if available <= capabilities.max_binding_bytes {
                available
            } else {
                padded_bytes(slot.bytes)
            };
            (slot.binding, 0..end)
        })
        .collect();
    let largest = whole.values().map(|range| range.end).max().unwrap_or(0);
    let limit = capabilities.max_binding_bytes;
    if largest <= limit {
        return Ok(vec![step(
            dispatch,
            launch,
            whole,
            choices,
            capabilities,
            build,
        )?]);
    }
    let parts = launch
        .split(limit, u64::from(capabilities.storage_alignment))
        .ok_or_else(|| EngineError::BindingTooLarge {
            kernel: launch.kernel(),
            shape: launch.describe(),
            bytes: largest,
            limit,
        })?;
    parts
        .into_iter()
        .map(|part| {
            step(
                dispatch,
                &part.launch,
                part.ranges,
                choices,
                capabilities,
                build,
            )
        })
        .collect()
}

fn step(
    dispatch: &Dispatch,
    launch: &Arc<dyn Launch>,
    ranges: BTreeMap<u32, Range<u64>>,
    choices: &Choices,
    capabilities: &Capabilities,
    build: Build,
) -> Result<Step, EngineError> {
    let request = match &dispatch.pin {
        Some(pin) => Request::new(
            launch.as_ref(),
            pin.variant.clone(),
            pin.edits.clone(),
            pin.build,
        ),
        None => {
            let variant = choices
                .pick(launch.as_ref(), capabilities, build)
                .ok_or_else(|| none_left(launch.as_ref(), capabilities, build))?;
            Request::new(launch.as_ref(), variant, Vec::new(), build)
        }
    };
    let workgroups = launch.workgroups(&request.variant);
    let grid =
        fold(workgroups, capabilities.max_workgroups).ok_or_else(|| EngineError::GridTooLarge {
            kernel: launch.kernel(),
            shape: launch.describe(),
            workgroups,
            limit: capabilities.max_workgroups,
        })?;
    let cost = launch.cost();
    Ok(Step {
        request,
        params: launch.params(),
        grid,
        ranges,
        work: cost.operations + cost.bytes,
    })
}

/// Why no variant can be picked.
fn none_left(launch: &dyn Launch, capabilities: &Capabilities, build: Build) -> EngineError {
    let (kernel, shape) = (launch.kernel(), launch.describe());
    if usable_variants(launch, capabilities, build).is_empty() {
        let limit = capabilities.max_loop_iterations;
        return EngineError::LoopTooLong {
            kernel,
            shape,
            limit,
        };
    }
    EngineError::Quarantined { kernel, shape }
}

/// Two dimensions within `limit` whose product is at least `workgroups`, as square as the limit asks.
/// Shaders take `x + y * count_x` as their index and return past the end.
fn fold(workgroups: u64, limit: u32) -> Option<[u32; 2]> {
    let workgroups = workgroups.max(1);
    let rows = workgroups.div_ceil(u64::from(limit));
    let columns = workgroups.div_ceil(rows);
    let rows = u32::try_from(rows).ok().filter(|&rows| rows <= limit)?;
    // The linear index must fit 32 bits.
    u32::try_from(columns * u64::from(rows)).ok()?;
    Some([u32::try_from(columns).ok()?, rows])
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn grids_fold_only_past_the_limit() {
        assert_eq!(fold(65_535, 65_535), Some([65_535, 1]));
        assert_eq!(fold(65_536, 65_535), Some([32_768, 2]));
        assert_eq!(fold(0, 65_535), Some([1, 1]));
        assert_eq!(fold(17, 4), None);
        assert_eq!(fold(15, 4), Some([4, 4]));
    }

    #[test]
    fn a_folded_grid_covers_every_workgroup() {
        for workgroups in 1..400 {
            let [columns, rows] = fold(workgroups, 20).expect("400 fit 20 by 20");
            assert!(columns <= 20 && rows <= 20);
            assert!(u64::from(columns) * u64::from(rows) >= workgroups);
        }
    }
}
