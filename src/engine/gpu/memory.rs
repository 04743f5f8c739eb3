//! Device memory: buffers by identity, a pool of released ones, and a ledger against a budget.

use std::collections::BTreeMap;

use wgpu::{BufferDescriptor, BufferUsages};

use crate::engine::EngineError;
use crate::record::{Buffer, BufferId, Watch};

use super::device::OpenDevice;

const USAGE: BufferUsages = BufferUsages::STORAGE
    .union(BufferUsages::COPY_SRC)
    .union(BufferUsages::COPY_DST);

#[derive(Debug)]
struct Resident {
    buffer: wgpu::Buffer,
    watch: Watch,
}

/// Buffers an engine holds.
#[derive(Debug, Default)]
pub(super) struct Memory {
    resident: BTreeMap<BufferId, Resident>,
    pool: BTreeMap<u64, Vec<wgpu::Buffer>>,
    /// How many plans hold each buffer.
    pins: BTreeMap<BufferId, usize>,
    /// Buffers released while a plan held them.
    parked: BTreeMap<BufferId, Vec<wgpu::Buffer>>,
    allocated: u64,
    /// The most that was allocated at a time.
    peak: u64,
    created: u64,
    budget: Option<u64>,
}

impl Memory {
    pub fn with_budget(budget: Option<u64>) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// Buffers created so far, for the counters.
    pub const fn created(&self) -> u64 {
        self.created
    }

    /// Bytes allocated and not released to the driver.
    pub const fn allocated(&self) -> u64 {
        self.allocated
    }

    /// The most bytes that were allocated at a time.
    pub const fn peak(&self) -> u64 {
        self.peak
    }

    /// Bytes of the budget that are left.
    pub fn free(&self) -> Option<u64> {
        self.budget
            .map(|budget| budget.saturating_sub(self.allocated))
    }

    /// Moves buffers without a living handle to the pool.
    pub fn sweep(&mut self) {
        let dead: Vec<BufferId> = self
            .resident
            .iter()
            .filter(|(_, resident)| !resident.watch.is_alive())
            .map(|(&id, _)| id)
            .collect();
        for id in dead {
            self.release(id);
        }
    }

    /// Forgets one buffer. Its memory goes to the pool, or waits there until no plan holds it.
    pub fn release(&mut self, id: BufferId) {
        let Some(resident) = self.resident.remove(&id) else {
            return;
        };
        if self.pins.contains_key(&id) {
            self.parked.entry(id).or_default().push(resident.buffer);
        } else {
            self.give(resident.buffer);
        }
    }

    /// Keeps a buffer's memory from being reused while a plan lives.
    pub fn pin(&mut self, id: BufferId) {
        *self.pins.entry(id).or_default() += 1;
    }

    /// Ends one pin.
    pub fn unpin(&mut self, id: BufferId) {
        let Some(count) = self.pins.get_mut(&id) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.pins.remove(&id);
            for buffer in self.parked.remove(&id).unwrap_or_default() {
                self.give(buffer);
            }
        }
    }

    /// The device buffer behind a handle, if there is one.
    pub fn get(&self, buffer: &Buffer) -> Option<&wgpu::Buffer> {
        self.resident
            .get(&buffer.id())
            .map(|resident| &resident.buffer)
    }

    /// The device buffer behind a handle, taken from the pool or created.
    pub fn ensure(
        &mut self,
        open: &OpenDevice,
        buffer: &Buffer,
    ) -> Result<wgpu::Buffer, EngineError> {
        if let Some(found) = self.get(buffer) {
            return Ok(found.clone());
        }
        let device_buffer = self.take(open, buffer.bytes())?;
        let resident = Resident {
            buffer: device_buffer.clone(),
            watch: buffer.watch(),
        };
        self.resident.insert(buffer.id(), resident);
        Ok(device_buffer)
    }

    /// Puts `words` into the buffer; a buffer made for it is written while mapped, without staging.
    pub fn fill(
        &mut self,
        open: &OpenDevice,
        buffer: &Buffer,
        words: &[u32],
    ) -> Result<(), EngineError> {
        let bytes: &[u8] = bytemuck::cast_slice(words);
        let pooled = self
            .pool
            .get(&buffer.bytes())
            .is_some_and(|free| !free.is_empty());
        if self.get(buffer).is_some() || pooled {
            let target = self.ensure(open, buffer)?;
            if !bytes.is_empty() {
                open.queue.write_buffer(&target, 0, bytes);
            }
            return Ok(());
        }
        let target = self.create(open, buffer.bytes(), true)?;
        if !bytes.is_empty() {
            let mut mapped = target
                .get_mapped_range_mut(..bytes.len() as u64)
                .map_err(|error| open.driver_error(error.to_string()))?;
            mapped.copy_from_slice(bytes);
        }
        target.unmap();
        self.resident.insert(
            buffer.id(),
            Resident {
                buffer: target,
                watch: buffer.watch(),
            },
        );
        Ok(())
    }

    /// A buffer of exactly `bytes` bytes that belongs to no handle.
    pub fn take(&mut self, open: &OpenDevice, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
        match self.pool.get_mut(&bytes).and_then(Vec::pop) {
            Some(buffer) => Ok(buffer),
            None => self.create(open, bytes, false),
        }
    }

    /// Gives back what [`Memory::take`] gave.
    pub fn give(&mut self, buffer: wgpu::Buffer) {
        self.pool.entry(buffer.size()).or_default().push(buffer);
    }

    fn create(
        &mut self,
        open: &OpenDevice,
        bytes: u64,
        mapped: bool,
    ) -> Result<wgpu::Buffer, EngineError> {
        let adapter = || open.summary.name.clone();
        let limit = open.capabilities().max_buffer_bytes;
        if bytes > limit {
            return Err(EngineError::BufferTooLarge {
                adapter: adapter(),
                bytes,
                limit,
            });
        }
        if let Some(budget) = self.budget {
            if self.allocated + bytes > budget {
                self.drop_pool();
            }
            if self.allocated + bytes > budget {
                let in_use = self.allocated;
                return Err(EngineError::OutOfMemory {
                    adapter: adapter(),
                    needed: bytes,
                    in_use,
                    budget,
                });
            }
        }
        let descriptor = BufferDescriptor {
            label: Some("lapidary"),
            size: bytes,
            usage: USAGE,
            mapped_at_creation: mapped,
        };
        let in_use = self.allocated;
        let buffer = open
            .scoped(|| Ok(open.device.create_buffer(&descriptor)))
            .map_err(|error| match error {
                EngineError::OutOfMemory {
                    adapter, budget, ..
                } => EngineError::OutOfMemory {
                    adapter,
                    needed: bytes,
                    in_use,
                    budget,
                },
                other => other,
            })?;
        self.allocated += bytes;
        self.peak = self.peak.max(self.allocated);
        self.created += 1;
        Ok(buffer)
    }

    /// Returns pooled memory to the driver.
    pub fn drop_pool(&mut self) {
        let freed: u64 = self
            .pool
            .iter()
            .map(|(bytes, free)| bytes * free.len() as u64)
            .sum();
        self.pool.clear();
        self.allocated -= freed;
    }
}
