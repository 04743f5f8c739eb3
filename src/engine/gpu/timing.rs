//! GPU timestamps per dispatch. Where a driver has none, or returns zero or a negative span, a time
//! is absent and the caller measures by wall clock instead.

use std::sync::atomic::Ordering;

use wgpu::{BufferDescriptor, BufferUsages, Features, QuerySetDescriptor, QueryType};

use crate::engine::EngineError;
use crate::record::{Command, Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::encode::{Encoding, bind};
use super::lower::lower;
use super::plan::dispatch_buffers;
use super::readback::{Staging, collect};
use super::{GpuEngine, prepare_buffers};

/// Queries of one set; WebGPU allows 4096.
const QUERIES: u32 = 4096;

/// Time of one dispatch (or of one part of a split one).
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchTime {
    /// Printed variant.
    pub variant: String,
    /// Nanoseconds by GPU timestamps, when they are valid.
    pub nanoseconds: Option<f64>,
}

impl GpuEngine {
    /// Runs a recording's dispatches once, each in a pass of its own, and times them on the device.
    /// Uploads and downloads in the recording are not performed: run it once before.
    ///
    /// # Errors
    /// As [`crate::engine::Engine::run`].
    pub fn time_dispatches(&self, recording: &Recording) -> Result<Vec<DispatchTime>, EngineError> {
        let open = &self.shared.open;
        open.check()?;
        let mut state = self.shared.lock();
        let state = &mut *state;
        let choices = self.shared.choices();
        let mut times = Vec::new();
        for command in recording.commands() {
            let Command::Dispatch(dispatch) = command else {
                continue;
            };
            prepare_buffers(open, &mut state.memory, dispatch)?;
            let memory = &state.memory;
            let buffers = dispatch_buffers(dispatch, |buffer| memory.get(buffer).cloned())?;
            let steps = lower(dispatch, &choices, open.capabilities(), self.shared.build())?;
            let requests: Vec<_> = steps.iter().map(|step| step.request.clone()).collect();
            let pipelines = state
                .pipelines
                .get_all(open, &self.shared.sources, &requests)?;
            let uniforms = state
                .uniforms
                .write(open, &steps.iter().collect::<Vec<_>>())?;
            let ready: Vec<_> =
                open.scoped(|| {
                    let bound = steps.iter().zip(&pipelines).enumerate().map(
                        |(index, (step, pipeline))| {
                            let slice = (&uniforms.buffer, uniforms.offset(index));
                            bind(open, step, pipeline, slice, |binding| {
                                buffers[&binding].clone()
                            })
                        },
                    );
                    Ok(bound.collect())
                })?;
            let count = (2 * ready.len() as u32).min(QUERIES);
            if !open.features.contains(Features::TIMESTAMP_QUERY) {
                let mut encoding = Encoding::new(open, None);
                open.scoped(|| {
                    ready.iter().for_each(|one| encoding.dispatch(one));
                    Ok(encoding.submit())
                })?;
                times.extend(steps.iter().map(|step| DispatchTime {
                    variant: step.request.variant.to_string(),
                    nanoseconds: None,
                }));
                continue;
            }
            let resolved = Tensor::new(DType::U32, &[2 * count as usize]);
            let staging = Staging::new(open, &resolved)?;
            open.scoped(|| {
                let queries = open.device.create_query_set(&QuerySetDescriptor {
                    label: Some("lapidary timing"),
                    ty: QueryType::Timestamp,
                    count,
                });
                let target = open.device.create_buffer(&BufferDescriptor {
                    label: Some("lapidary timing"),
                    size: resolved.buffer().bytes(),
                    usage: BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC,
                    mapped_at_creation: false,
                });
                let mut encoding = Encoding::new(open, None);
                for (index, one) in ready.iter().take(count as usize / 2).enumerate() {
                    encoding.dispatch_timed(one, &queries, 2 * index as u32);
                }
                encoding.resolve(&queries, count, &target);
                encoding.copy(&target, &staging.buffer, target.size());
                self.shared
                    .counters
                    .submits
                    .fetch_add(encoding.submit(), Ordering::Relaxed);
                Ok(())
            })?;
            let ticks = pollster::block_on(collect(open, &[staging]))?;
            let ticks: Vec<u64> = ticks
                .iter()
                .flat_map(HostTensor::words)
                .collect::<Vec<u32>>()
                .chunks_exact(2)
                .map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32)
                .collect();
            let period = f64::from(open.queue.get_timestamp_period());
            for (step, span) in steps.iter().zip(ticks.chunks_exact(2)) {
                let valid = span[0] != 0 && span[1] > span[0];
                let nanoseconds = valid.then(|| (span[1].wrapping_sub(span[0])) as f64 * period);
                times.push(DispatchTime {
                    variant: step.request.variant.to_string(),
                    nanoseconds,
                });
            }
        }
        Ok(times)
    }
}
