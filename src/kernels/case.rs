//! A kernel's registry entry and its cases: one object serves tests, `verify`, benches and tables.

use std::sync::Arc;

use crate::record::Launch;
use crate::shader::Edit;

use super::{DataKind, WorkloadFn};

/// How many cases to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Every format and every kind of data, on shapes that run in moments.
    Quick,
    /// More shapes and longer reductions.
    Full,
}

/// How a case is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judge {
    /// Every output bit equals the rounded reference.
    Bitwise,
    /// Every output element is within the launch's bound.
    Bounded,
}

/// One launch with its operands.
#[derive(Debug, Clone)]
pub struct Case {
    /// Shape, formats and data: unique within the kernel.
    pub name: String,
    /// The launch.
    pub launch: Arc<dyn Launch>,
    /// Words of each operand that is read, by binding number.
    pub operands: Vec<(u32, Vec<u32>)>,
    /// How to judge it.
    pub judge: Judge,
    /// What the operands hold.
    pub data: DataKind,
}

impl Case {
    /// A case named after its launch and data; integers are judged bitwise.
    pub fn new(launch: Arc<dyn Launch>, operands: Vec<(u32, Vec<u32>)>, data: DataKind) -> Self {
        let judge = if data == DataKind::Integers {
            Judge::Bitwise
        } else {
            Judge::Bounded
        };
        let name = format!("{} {}", launch.describe(), data.name());
        Self {
            name,
            launch,
            operands,
            judge,
            data,
        }
    }

    /// The same case judged within its bound although its data are integers, for kernels that apply
    /// functions that are not exact.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.judge = Judge::Bounded;
        self
    }
}

/// A failure that is known, with its cause. A run in which it passes fails, so that the entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedFailure {
    /// Part of the adapter's name or driver.
    pub adapter: &'static str,
    /// Part of the printed variant.
    pub variant: &'static str,
    /// The report that explains it.
    pub link: &'static str,
}

/// Registry entry.
#[derive(Debug)]
pub struct Kernel {
    /// Stem of the kernel's and the shader's file.
    pub name: &'static str,
    /// What it computes, in one line.
    pub summary: &'static str,
    /// Makes a launch of extents and a format in words.
    pub workload: WorkloadFn,
    /// Its cases.
    pub cases: fn(Effort) -> Vec<Case>,
    /// Edits that break its shaders; its cases must reject each of them.
    pub broken: &'static [Edit],
    /// Known failures.
    pub expected_failures: &'static [ExpectedFailure],
}
