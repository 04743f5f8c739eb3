//! The `Launch` trait: everything an engine, a test, a bench or a tuner asks of one kernel call.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::num::Philox;
use crate::shader::{Capabilities, Variant};

use super::{Bound, Output};

/// How a shader touches a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Every element the launch covers is written, none is read.
    Write,
    /// Read and written in place.
    ReadWrite,
}

/// One storage binding of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// `@binding(n)` of group 0; binding 0 is the uniform `Params`.
    pub binding: u32,
    /// Variable name in the shader.
    pub name: &'static str,
    /// How it is touched.
    pub access: Access,
    /// Bytes the shader may touch, before padding to 16.
    pub bytes: u64,
}

/// Work of one launch, for rates and rooflines.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// Multiplies and adds (a multiply-add counts two).
    pub operations: f64,
    /// Bytes that must move between memory and the adapter at least once.
    pub bytes: f64,
}

/// Loop iterations of one invocation, all loops together. Drivers unroll short loops of constant length
/// when they are free to, and keep them when runtime checks are compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Iterations {
    /// When loops over a tile's rows and columns are unrolled.
    pub unrolled: u64,
    /// When nothing is.
    pub rolled: u64,
}

/// A launch cut so that each piece fits a binding limit: the piece and, for each slot, its byte range
/// inside the whole launch's binding.
#[derive(Debug, Clone)]
pub struct Part {
    /// The smaller launch.
    pub launch: Arc<dyn Launch>,
    /// Byte range by binding number.
    pub ranges: BTreeMap<u32, Range<u64>>,
}

/// Operand memory of one launch as 32-bit words, by binding number.
#[derive(Debug, Clone, Default)]
pub struct HostOperands<'a> {
    words: BTreeMap<u32, &'a [u32]>,
}

impl<'a> HostOperands<'a> {
    /// Adds one operand.
    pub fn insert(&mut self, binding: u32, words: &'a [u32]) {
        self.words.insert(binding, words);
    }

    /// Words of an operand.
    ///
    /// # Panics
    /// When the binding was never given: recordings are checked for that when they are made.
    pub fn words(&self, binding: u32) -> &'a [u32] {
        self.words
            .get(&binding)
            .unwrap_or_else(|| panic!("operand {binding} missing"))
    }

    /// Words of an operand, if it was given: an output has none before the launch.
    pub fn get(&self, binding: u32) -> Option<&'a [u32]> {
        self.words.get(&binding).copied()
    }

    /// Operand as `f32`.
    ///
    /// # Panics
    /// As [`Self::words`].
    pub fn f32(&self, binding: u32) -> &'a [f32] {
        bytemuck::cast_slice(self.words(binding))
    }
}

/// Memory that one launch writes as 32-bit words, by binding number; what it also reads holds that before.
#[derive(Debug, Default)]
pub struct HostResults<'a> {
    words: BTreeMap<u32, &'a mut [u32]>,
}

impl<'a> HostResults<'a> {
    /// Adds one operand that is written.
    pub fn insert(&mut self, binding: u32, words: &'a mut [u32]) {
        self.words.insert(binding, words);
    }

    /// Words of an operand.
    ///
    /// # Panics
    /// When the binding was never given: recordings are checked for that when they are made.
    pub fn words(&mut self, binding: u32) -> &mut [u32] {
        match self.words.get_mut(&binding) {
            Some(words) => words,
            None => panic!("result {binding} missing"),
        }
    }

    /// Operand as `f32`.
    ///
    /// # Panics
    /// As [`Self::words`].
    pub fn f32(&mut self, binding: u32) -> &mut [f32] {
        bytemuck::cast_slice_mut(self.words(binding))
    }
}

/// How a shader is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Without the driver's runtime checks.
    Trusted,
    /// With bounds checks and loop bounding.
    Checked,
}

/// Variants that an adapter can launch and finish in this build: those whose loops stay within the
/// driver's limit. Empty only where all of them pass it.
pub fn usable_variants(
    launch: &dyn Launch,
    capabilities: &Capabilities,
    build: Build,
) -> Vec<Variant> {
    let mut variants = launch.variants(capabilities);
    variants.retain(|variant| {
        let iterations = launch.iterations(variant);
        let count = match build {
            Build::Trusted => iterations.unrolled,
            Build::Checked => iterations.rolled,
        };
        count <= capabilities.max_loop_iterations
    });
    variants
}

/// Words that are of size 0.007 to 0.013 as f32 and bf16, 1 to 1.5 as f16, of either sign, for every slot
/// that is read.
pub fn example_operands(slots: &[Slot], seed: u64) -> Vec<(u32, Vec<u32>)> {
    let read = slots.iter().filter(|slot| slot.access != Access::Write);
    read.map(|slot| {
        let mut random = Philox::new(seed).stream(slot.binding.into());
        let word = |_| 0x3c00_3c00 | (random.next_u32() & 0x81ff_81ff);
        (
            slot.binding,
            (0..slot.bytes.div_ceil(4)).map(word).collect(),
        )
    })
    .collect()
}

/// One call of a kernel with a fixed shape: what to run, and what its result must be.
pub trait Launch: fmt::Debug + Send + Sync {
    /// Kernel name, the stem of its file.
    fn kernel(&self) -> &'static str;
    /// Shape and formats, for messages and labels: `m=1 n=64 k=128 int4-g64`.
    fn describe(&self) -> String;
    /// Storage bindings, in binding order.
    fn slots(&self) -> Vec<Slot>;
    /// Bytes of the uniform `Params`.
    fn params(&self) -> Vec<u8>;
    /// Name and byte offset of each member of `Params`.
    fn param_fields(&self) -> &'static [(&'static str, usize)];
    /// Variants this adapter can launch, best first guess first; never empty.
    fn variants(&self, capabilities: &Capabilities) -> Vec<Variant>;
    /// Workgroups to run; engines fold the count over two dimensions.
    fn workgroups(&self, variant: &Variant) -> u64;
    /// Loop iterations of one invocation, for drivers that limit them.
    fn iterations(&self, variant: &Variant) -> Iterations;
    /// The definition: plain loops with f64 accumulators over the same packed bits.
    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output>;
    /// Makes the results on all cores in f32, within [`Launch::bound`] of the reference and with the same bits on
    /// any number of threads. `false`, and nothing written, where there is only the reference.
    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let _ = (operands, results);
        false
    }
    /// Allowed error of each output element, in the order of [`Launch::reference`].
    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound>;
    /// Operations and bytes.
    fn cost(&self) -> Cost;
    /// Shape and formats with extents rounded up to classes of shapes that want the same variant: what a
    /// measured choice is kept under.
    fn shape_class(&self) -> String {
        self.describe()
    }
    /// The same formats and variants at a size whose reference takes moments, to compare variants with it:
    /// `None` when this size does.
    fn reduced(&self) -> Option<Arc<dyn Launch>> {
        None
    }
    /// Valid content, by binding, for every operand that is read: for timing, and for comparing variants
    /// at this very shape. By default words that are moderate numbers as f32, f16, bf16 and as integers.
    fn example(&self, seed: u64) -> Vec<(u32, Vec<u32>)> {
        example_operands(&self.slots(), seed)
    }
    /// The launch of a dense kernel that makes the same product from the same weights with their zeros
    /// written out, for a weight that is pruned: whichever is faster may be used.
    fn dense(&self) -> Option<Arc<dyn Launch>> {
        None
    }
    /// Cuts the launch so that no binding exceeds `max_bytes` and every offset is a multiple of
    /// `alignment`. `None` when the kernel cannot be cut that small.
    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let _ = (max_bytes, alignment);
        None
    }
}
