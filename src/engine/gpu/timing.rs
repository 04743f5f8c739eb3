//! GPU timestamps per dispatch. Where a driver has none, or returns zero or a negative span, a time
//! is absent and the caller measures by wall clock instead.

use std::sync::atomic::Ordering;

use wgpu::{BufferDescriptor, BufferUsages, Features, QuerySetDescriptor, QueryType};

use crate::engine::EngineError;
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::encode::{Encoding, Ready, bind};
use super::lower::{Step, lower};
use super::plan::dispatch_buffers;
use super::readback::{Staging, collect};
use super::{GpuEngine, prepare_buffers};

/// Queries of one set; WebGPU allows 4096.
const QUERIES: u32 = 4096;

/// Time of one dispatch (or of one part of a split one).
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchTime {
    /// Position among the recording's dispatches.
    pub index: usize,
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
        let mut steps: Vec<Step> = Vec::new();
        let mut buffers = Vec::new();
        let mut times = Vec::new();
        for (index, dispatch) in recording.dispatches().enumerate() {
            prepare_buffers(open, &mut state.memory, dispatch)?;
            let memory = &state.memory;
            let bound = dispatch_buffers(dispatch, |buffer| memory.get(buffer).cloned())?;
            for step in lower(dispatch, &choices, open.capabilities(), self.shared.build())? {
                times.push(DispatchTime {
                    index,
                    variant: step.request.variant.to_string(),
                    nanoseconds: None,
                });
                buffers.push(bound.clone());
                steps.push(step);
            }
        }
        let requests: Vec<_> = steps.iter().map(|step| step.request.clone()).collect();
        let pipelines = state
            .pipelines
            .get_all(open, &self.shared.sources, &requests)?;
        let uniforms = state
            .uniforms
            .write(open, &steps.iter().collect::<Vec<_>>())?;
        let ready: Vec<Ready> = open.scoped(|| {
            let all = steps.iter().zip(&pipelines).zip(&buffers).enumerate();
            Ok(all
                .map(|(index, ((step, pipeline), buffers))| {
                    let slice = (&uniforms.buffer, uniforms.offset(index));
                    bind(open, step, pipeline, slice, |binding| {
                        buffers[&binding].clone()
                    })
                })
                .collect())
        })?;
        for (ready, times) in ready
            .chunks(QUERIES as usize / 2)
            .zip(times.chunks_mut(QUERIES as usize / 2))
        {
            for (time, nanoseconds) in times.iter_mut().zip(self.time_ready(ready)?) {
                time.nanoseconds = nanoseconds;
            }
        }
        Ok(times)
    }

    /// One submit of at most half as many dispatches as a query set holds.
    fn time_ready(&self, ready: &[Ready]) -> Result<Vec<Option<f64>>, EngineError> {
        let open = &self.shared.open;
        let mut encoding = Encoding::new(open, None);
        if !open.features.contains(Features::TIMESTAMP_QUERY) {
            open.scoped(|| {
                ready.iter().for_each(|one| encoding.dispatch(one));
                Ok(encoding.submit())
            })?;
            return Ok(vec![None; ready.len()]);
        }
        let count = 2 * ready.len() as u32;
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
            for (index, one) in ready.iter().enumerate() {
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
        let words: Vec<u32> = ticks.iter().flat_map(HostTensor::words).collect();
        let period = f64::from(open.queue.get_timestamp_period());
        Ok(spans(&words, period))
    }
}

/// Nanoseconds of each pair of timestamps (two words each, low first). A zero, or an end that is not
/// after its beginning, is no data.
fn spans(words: &[u32], period: f64) -> Vec<Option<f64>> {
    let tick = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    words
        .chunks_exact(4)
        .map(|span| {
            let (begin, end) = (tick(span[0], span[1]), tick(span[2], span[3]));
            (begin != 0 && end > begin).then(|| (end - begin) as f64 * period)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::spans;

    #[test]
    fn zero_and_backward_timestamps_are_no_data() {
        let words = [5, 1, 9, 1, 0, 0, 7, 0, 9, 0, 9, 0, 9, 1, 9, 0];
        assert_eq!(spans(&words, 2.0), [Some(8.0), None, None, None]);
    }
}
