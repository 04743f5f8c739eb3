//! Where stored values belong: the definition of each layout, read from the same words as the shaders.

use crate::num::SparseLayout;
use crate::record::{Access, HostOperands, Slot};

use super::{PLACES, STARTS, SparseMatmul};

/// One stored value of a row of the weight: its column, and where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub column: usize,
    pub stored_row: usize,
    pub stored_column: usize,
}

impl SparseMatmul {
    /// Words from the indices of one vector of rows to those of the next.
    pub(super) fn index_words(&self) -> u32 {
        match self.format.layout {
            SparseLayout::Nm(pattern) => pattern.index_stride_words(self.k as usize) as u32,
            SparseLayout::Block(_) | SparseLayout::Delta(_) => 0,
        }
    }

    /// Rows (of blocks) whose starts are stored.
    pub(super) fn starts(&self) -> u32 {
        match self.format.layout {
            SparseLayout::Nm(_) => 0,
            SparseLayout::Block(shape) => self.n.div_ceil(shape.rows() as u32) + 1,
            SparseLayout::Delta(_) => self.n + 1,
        }
    }

    /// Name of the places in the shaders, and how many words they take.
    pub(super) fn place_words(&self) -> (&'static str, u64) {
        let count = u64::from(self.stored.count);
        match self.format.layout {
            SparseLayout::Nm(pattern) => {
                let vectors = u64::from(self.n.div_ceil(pattern.vector()));
                ("indices", vectors * u64::from(self.index_words()))
            }
            SparseLayout::Block(_) => ("block_columns", count.max(1)),
            SparseLayout::Delta(bits) => {
                let entries = count.max(self.row_multiple().into());
                ("deltas", entries * u64::from(bits.bits()) / 32)
            }
        }
    }

    /// Bindings of places.
    pub(super) fn place_slots(&self) -> Vec<Slot> {
        let read = |binding, name, words: u64| Slot {
            binding,
            name,
            access: Access::Read,
            bytes: 4 * words,
        };
        let (name, words) = self.place_words();
        let mut slots = vec![read(PLACES, name, words)];
        if self.starts() > 0 {
            slots.push(read(STARTS, "row_starts", self.starts().into()));
        }
        slots
    }

    /// Every stored value of a row whose column exists, in stored order.
    pub(super) fn places(&self, operands: &HostOperands<'_>, row: usize) -> Vec<Place> {
        let words = operands.words(PLACES);
        let field = |index: usize, bits: u32, words: &[u32]| {
            let bit = index * bits as usize;
            ((words[bit / 32] >> (bit % 32)) & ((1 << bits) - 1)) as usize
        };
        let mut places = Vec::new();
        match self.format.layout {
            SparseLayout::Nm(pattern) => {
                let first = row / pattern.vector() as usize * self.index_words() as usize;
                for at in 0..pattern.kept(self.k as usize) {
                    let group = at / pattern.n() as usize;
                    let index = field(at, pattern.index_bits(), &words[first..]);
                    places.push(Place {
                        column: group * pattern.m() as usize + index,
                        stored_row: row,
                        stored_column: at,
                    });
                }
            }
            SparseLayout::Block(shape) => {
                let starts = operands.words(STARTS);
                let (block_row, within) = (row / shape.rows(), row % shape.rows());
                let kept = starts[block_row] as usize..starts[block_row + 1] as usize;
                for (block, column) in kept.clone().zip(&words[kept]) {
                    let first = *column as usize * shape.columns();
                    let columns = first..(first + shape.columns()).min(self.k as usize);
                    places.extend(columns.map(|column| Place {
                        column,
                        stored_row: block,
                        stored_column: within * shape.columns() + column - first,
                    }));
                }
            }
            SparseLayout::Delta(bits) => {
                let starts = operands.words(STARTS);
                let mut column = 0;
                for entry in starts[row] as usize..starts[row + 1] as usize {
                    column += field(entry, bits.bits(), words);
                    places.push(Place {
                        column,
                        stored_row: 0,
                        stored_column: entry,
                    });
                }
            }
        }
        places
    }
}
