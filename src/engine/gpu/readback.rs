//! From device to host: a staging buffer per download, mapped after the submit.

use futures_intrusive::channel::shared::oneshot_channel;
use wgpu::{BufferDescriptor, BufferUsages, MapMode, PollType};

use crate::engine::EngineError;
use crate::record::{Tensor, padded_bytes};
use crate::tensor::HostTensor;

use super::device::OpenDevice;

/// A host-visible buffer waiting for one tensor's content.
#[derive(Debug)]
pub(super) struct Staging {
    pub buffer: wgpu::Buffer,
    pub tensor: Tensor,
}

impl Staging {
    pub fn new(open: &OpenDevice, tensor: &Tensor) -> Result<Self, EngineError> {
        let descriptor = BufferDescriptor {
            label: Some("lapidary readback"),
            size: padded_bytes((tensor.len() * tensor.dtype().bytes()).max(1) as u64),
            usage: BufferUsages::MAP_READ | BufferUsages::COPY_DST,
            mapped_at_creation: false,
        };
        let buffer = open.scoped(|| Ok(open.device.create_buffer(&descriptor)))?;
        Ok(Self {
            buffer,
            tensor: tensor.clone(),
        })
    }
}

/// Maps all staging buffers, waits, and returns their content. The buffers are unmapped again.
pub(super) async fn collect(
    open: &OpenDevice,
    staging: &[Staging],
) -> Result<Vec<HostTensor>, EngineError> {
    let mut waiting = Vec::new();
    for one in staging {
        let (sender, receiver) = oneshot_channel();
        one.buffer.map_async(MapMode::Read, .., move |result| {
            // The receiver lives until every result is in; a failed send has nobody to tell.
            let _ = sender.send(result.is_ok());
        });
        waiting.push(receiver);
    }
    if !staging.is_empty() {
        let polled = open.device.poll(PollType::wait_indefinitely());
        open.check()?;
        polled.map_err(|error| open.driver_error(error.to_string()))?;
    }
    let mut results = Vec::new();
    for (one, receiver) in staging.iter().zip(waiting) {
        let mapped = receiver.receive().await.unwrap_or(false);
        open.check()?;
        if !mapped {
            return Err(open.driver_error("mapping a readback buffer failed"));
        }
        let view = one
            .buffer
            .get_mapped_range(..)
            .map_err(|error| open.driver_error(error.to_string()))?;
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&view);
        drop(view);
        one.buffer.unmap();
        results.push(one.tensor.to_host(&words)?);
    }
    Ok(results)
}
