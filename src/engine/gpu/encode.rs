//! Encoding: steps with their bind groups go into one compute pass until something needs a break
//! (a copy, a timestamp, or the submit budget).

use std::sync::Arc;

use wgpu::{
    BindGroup, BindGroupDescriptor, BindGroupEntry, BindingResource, BufferBinding, BufferSize,
    CommandEncoder, CommandEncoderDescriptor, ComputePass, ComputePassDescriptor,
};

use super::device::OpenDevice;
use super::lower::Step;
use super::pipelines::Pipeline;

/// A step with everything the device needs to run it.
#[derive(Debug)]
pub(super) struct Ready {
    pub pipeline: Arc<Pipeline>,
    pub bind_group: BindGroup,
    pub grid: [u32; 2],
    pub work: f64,
}

/// Binds a step's buffers and its slice of the uniform buffer.
pub(super) fn bind(
    open: &OpenDevice,
    step: &Step,
    pipeline: &Arc<Pipeline>,
    uniforms: (&wgpu::Buffer, u64),
    buffer_of: impl Fn(u32) -> wgpu::Buffer,
) -> Ready {
    let (uniform_buffer, offset) = uniforms;
    let buffers: Vec<(u32, wgpu::Buffer)> = step
        .ranges
        .keys()
        .map(|&binding| (binding, buffer_of(binding)))
        .collect();
    let uniform = BufferBinding {
        buffer: uniform_buffer,
        offset,
        size: BufferSize::new(step.params.len() as u64),
    };
    let mut entries = vec![BindGroupEntry {
        binding: 0,
        resource: BindingResource::Buffer(uniform),
    }];
    for (binding, buffer) in &buffers {
        let range = &step.ranges[binding];
        let resource = BufferBinding {
            buffer,
            offset: range.start,
            size: BufferSize::new(range.end - range.start),
        };
        entries.push(BindGroupEntry {
            binding: *binding,
            resource: BindingResource::Buffer(resource),
        });
    }
    let descriptor = BindGroupDescriptor {
        label: None,
        layout: &pipeline.layout,
        entries: &entries,
    };
    let bind_group = open.device.create_bind_group(&descriptor);
    Ready {
        pipeline: Arc::clone(pipeline),
        bind_group,
        grid: step.grid,
        work: step.work,
    }
}

/// An encoder with at most one open compute pass.
pub(super) struct Encoding<'a> {
    open: &'a OpenDevice,
    encoder: Option<CommandEncoder>,
    pass: Option<ComputePass<'static>>,
    budget: Option<f64>,
    work: f64,
    submits: u64,
}

impl<'a> Encoding<'a> {
    pub const fn new(open: &'a OpenDevice, budget: Option<f64>) -> Self {
        Self {
            open,
            encoder: None,
            pass: None,
            budget,
            work: 0.0,
            submits: 0,
        }
    }

    fn encoder(&mut self) -> &mut CommandEncoder {
        self.pass = None;
        self.encoder.get_or_insert_with(|| {
            self.open
                .device
                .create_command_encoder(&CommandEncoderDescriptor {
                    label: Some("lapidary"),
                })
        })
    }

    /// Adds one dispatch, submitting first when the budget would be passed.
    pub fn dispatch(&mut self, ready: &Ready) {
        if self
            .budget
            .is_some_and(|budget| self.work > 0.0 && self.work + ready.work > budget)
        {
            self.submit();
        }
        self.work += ready.work;
        if self.pass.is_none() {
            let descriptor = ComputePassDescriptor {
                label: Some("lapidary"),
                timestamp_writes: None,
            };
            let pass = self
                .encoder()
                .begin_compute_pass(&descriptor)
                .forget_lifetime();
            self.pass = Some(pass);
        }
        if let Some(pass) = &mut self.pass {
            run(pass, ready);
        }
    }

    /// Adds one dispatch in a pass of its own with timestamps written around it.
    pub fn dispatch_timed(&mut self, ready: &Ready, queries: &wgpu::QuerySet, first: u32) {
        let descriptor = ComputePassDescriptor {
            label: Some("lapidary timed"),
            timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                query_set: queries,
                beginning_of_pass_write_index: Some(first),
                end_of_pass_write_index: Some(first + 1),
            }),
        };
        let mut pass = self.encoder().begin_compute_pass(&descriptor);
        run(&mut pass, ready);
    }

    /// Copies the start of one buffer to another.
    pub fn copy(&mut self, from: &wgpu::Buffer, to: &wgpu::Buffer, bytes: u64) {
        self.encoder()
            .copy_buffer_to_buffer(from, 0, to, 0, Some(bytes));
    }

    /// Resolves timestamps into a buffer.
    pub fn resolve(&mut self, queries: &wgpu::QuerySet, count: u32, to: &wgpu::Buffer) {
        self.encoder().resolve_query_set(queries, 0..count, to, 0);
    }

    /// Submits what was encoded so far and returns how many submits there were.
    pub fn submit(&mut self) -> u64 {
        self.pass = None;
        if let Some(encoder) = self.encoder.take() {
            self.open.queue.submit([encoder.finish()]);
            self.submits += 1;
        }
        self.work = 0.0;
        self.submits
    }
}

fn run(pass: &mut ComputePass<'_>, ready: &Ready) {
    pass.set_pipeline(&ready.pipeline.pipeline);
    pass.set_bind_group(0, &ready.bind_group, &[]);
    pass.dispatch_workgroups(ready.grid[0], ready.grid[1], 1);
}
