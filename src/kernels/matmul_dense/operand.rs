//! One operand as it lies in memory: how many elements, and how far apart.

use crate::kernels::FloatType;

use super::{Broadcast, Layout};

/// One operand: `extent` rows of A or columns of B, each `k` long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    pub storage: FloatType,
    pub layout: Layout,
    pub broadcast: Broadcast,
    pub extent: u32,
    pub k: u32,
}

impl Operand {
    /// Elements of one matrix.
    pub fn matrix(self) -> u64 {
        u64::from(self.extent) * u64::from(self.k)
    }

    pub fn matrix_bytes(self) -> u64 {
        self.matrix() * self.storage.bytes()
    }

    /// Elements of the whole operand.
    pub fn elements(self, batch: u32) -> u64 {
        match self.broadcast {
            Broadcast::PerBatch => u64::from(batch) * self.matrix(),
            Broadcast::Shared => self.matrix(),
        }
    }

    pub fn bytes(self, batch: u32) -> u64 {
        self.elements(batch) * self.storage.bytes()
    }

    /// Elements from one matrix to the next; checked to fit when the launch was made.
    pub const fn batch_stride(self) -> u32 {
        match self.broadcast {
            Broadcast::PerBatch => self.extent * self.k,
            Broadcast::Shared => 0,
        }
    }

    pub const fn extent_stride(self) -> u32 {
        match self.layout {
            Layout::KLast => self.k,
            Layout::KFirst => 1,
        }
    }

    pub const fn k_stride(self) -> u32 {
        match self.layout {
            Layout::KLast => 1,
            Layout::KFirst => self.extent,
        }
    }

    /// Index of an element.
    pub const fn at(self, matrix: usize, along_extent: usize, along_k: usize) -> usize {
        matrix * self.batch_stride() as usize
            + along_extent * self.extent_stride() as usize
            + along_k * self.k_stride() as usize
    }

    /// Whether runs of `length` along k are aligned and never leave a row.
    pub const fn in_runs(self, length: u32) -> bool {
        matches!(self.layout, Layout::KLast) && self.k.is_multiple_of(length)
    }

    /// Whether runs of `length` across k are aligned and never leave a row.
    pub const fn across_k_in_runs(self, length: u32) -> bool {
        matches!(self.layout, Layout::KFirst) && self.extent.is_multiple_of(length)
    }

    pub fn describe(self, extent: char) -> String {
        let shared = match self.broadcast {
            Broadcast::PerBatch => "",
            Broadcast::Shared => "shared",
        };
        match self.layout {
            Layout::KLast => format!("{}[{extent},k]{shared}", self.storage),
            Layout::KFirst => format!("{}[k,{extent}]{shared}", self.storage),
        }
    }
}
