//! Uniform parameters: one buffer for all steps of a submit, written once.

use wgpu::{BufferDescriptor, BufferUsages};

use crate::engine::EngineError;

use super::device::OpenDevice;
use super::lower::Step;

/// A uniform buffer holding the `Params` of several steps at aligned offsets.
#[derive(Debug)]
pub(super) struct Uniforms {
    pub buffer: wgpu::Buffer,
    offsets: Vec<u64>,
}

/// Lays the steps' parameters out: the bytes and each step's offset.
fn layout(open: &OpenDevice, steps: &[&Step]) -> (Vec<u8>, Vec<u64>) {
    let alignment = open.device.limits().min_uniform_buffer_offset_alignment as usize;
    let mut bytes = Vec::new();
    let mut offsets = Vec::new();
    for step in steps {
        bytes.resize(bytes.len().next_multiple_of(alignment), 0);
        offsets.push(bytes.len() as u64);
        bytes.extend_from_slice(&step.params);
    }
    bytes.resize(bytes.len().next_multiple_of(alignment).max(alignment), 0);
    (bytes, offsets)
}

fn create(open: &OpenDevice, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
    let descriptor = BufferDescriptor {
        label: Some("lapidary uniforms"),
        size: bytes,
        usage: BufferUsages::UNIFORM | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    open.scoped(|| Ok(open.device.create_buffer(&descriptor)))
}

impl Uniforms {
    /// A buffer of its own, for a plan.
    pub fn fixed(open: &OpenDevice, steps: &[&Step]) -> Result<Self, EngineError> {
        let (bytes, offsets) = layout(open, steps);
        let buffer = create(open, bytes.len() as u64)?;
        open.queue.write_buffer(&buffer, 0, &bytes);
        Ok(Self { buffer, offsets })
    }

    /// Offset of a step's parameters.
    pub fn offset(&self, step: usize) -> u64 {
        self.offsets[step]
    }
}

/// The buffer that one-off runs share. Queue writes are ordered with submits, so it is rewritten from
/// the start by each run.
#[derive(Debug, Default)]
pub(super) struct RunUniforms {
    buffer: Option<wgpu::Buffer>,
}

impl RunUniforms {
    /// Writes the parameters of a run, growing the buffer when they do not fit.
    pub fn write(&mut self, open: &OpenDevice, steps: &[&Step]) -> Result<Uniforms, EngineError> {
        let (bytes, offsets) = layout(open, steps);
        let needed = bytes.len() as u64;
        let buffer = match self.buffer.take().filter(|buffer| buffer.size() >= needed) {
            Some(buffer) => buffer,
            None => create(open, needed.next_power_of_two().max(1 << 16))?,
        };
        open.queue.write_buffer(&buffer, 0, &bytes);
        self.buffer = Some(buffer.clone());
        Ok(Uniforms { buffer, offsets })
    }
}
