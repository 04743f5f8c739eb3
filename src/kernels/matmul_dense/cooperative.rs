//! Variants made of matrix instructions: subgroups multiply squares of f16 or f32 with sums in f32.
//!
//! An adapter has them only when the engine was told to use them, and no adapter that runs on a CPU does.
//! So the entry has a twin whose squares are written out for the lanes of a subgroup (`unit=lanes`): it
//! proves staging, addresses and tails everywhere. It is slow, and offered for small products only.
//!
//! Squares are multiplied exactly where operands are f16; a sum of k terms passes through at most k
//! additions whatever the order, as in the other variants. Instructions whose additions round otherwise
//! than WGSL's (some round towards zero) still choose one of the two neighbours, which the bound allows.

use crate::kernels::path::Sharing;
use crate::kernels::{Epilogue, FloatType};
use crate::record::Iterations;
use crate::shader::{Capabilities, Variant};

use super::launch::DenseLaunch;

const ENTRY: &str = "matmul_dense/cooperative";

/// Rows and columns of a workgroup's tile, its subgroups along each, and the terms it stages at once.
const TILE: (u32, u32) = (32, 64);
const WAVES: (u32, u32) = (1, 2);
const TILE_K: u32 = 16;

/// Multiplications up to which the twin without instructions is offered.
const SMALL: u64 = 1 << 20;

/// A square that instructions, or lanes, multiply.
#[derive(Debug, Clone, Copy)]
struct Unit {
    module: &'static str,
    size: u32,
}

impl DenseLaunch {
    /// Variants of matrix instructions that the adapter has, larger squares first.
    pub(super) fn cooperative(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let has = capabilities.cooperative;
        let unit = |module, size| Unit { module, size };
        let units = match (self.shape.a, self.shape.b) {
            (FloatType::F16, FloatType::F16) if capabilities.f16 => vec![
                (has.f16_16, unit("f16_16", 16)),
                (has.f16_8, unit("f16_8", 8)),
            ],
            (FloatType::F32, FloatType::F32) => vec![(has.f32_8, unit("f32_8", 8))],
            _ => Vec::new(),
        };
        let offered = units.into_iter().filter(|(has, _)| *has);
        offered
            .filter_map(|(_, unit)| self.of_units(unit, capabilities))
            .collect()
    }

    /// The twins without instructions, for small products.
    pub(super) fn written_out(&self, capabilities: &Capabilities) -> Vec<Variant> {
        let shape = self.shape;
        let outputs = u64::from(shape.batch) * u64::from(shape.m) * u64::from(shape.n);
        // What follows the sums is the same in all entries, so the plain one will do.
        let plain = shape.epilogue == Epilogue::default() && shape.out == FloatType::F32;
        if outputs.saturating_mul(shape.k.into()) > SMALL || shape.a != shape.b || !plain {
            return Vec::new();
        }
        let sizes: &[u32] = match shape.a {
            FloatType::F16 => &[16, 8],
            FloatType::F32 => &[8],
            FloatType::Bf16 => &[],
        };
        let units = sizes.iter().map(|&size| Unit {
            module: "lanes",
            size,
        });
        units
            .filter_map(|unit| self.of_units(unit, capabilities))
            .collect()
    }

    /// `None` where subgroups have no fixed size, or two of them are no workgroup.
    fn of_units(&self, unit: Unit, capabilities: &Capabilities) -> Option<Variant> {
        let subgroup = capabilities.subgroup_size()?;
        let workgroup = WAVES.0 * WAVES.1 * subgroup;
        let cells = unit.size * unit.size;
        if workgroup > capabilities.max_invocations || !cells.is_multiple_of(subgroup) {
            return None;
        }
        let variant = self.choose(Sharing::Shared, Variant::new(ENTRY), capabilities);
        let variant = variant
            .without("product")
            .slot("unit", unit.module)
            .number("ROWS", TILE.0)
            .number("COLUMNS", TILE.1)
            .number("WAVES_N", WAVES.1)
            .number("UNITS_M", TILE.0 / WAVES.0 / unit.size)
            .number("UNITS_N", TILE.1 / WAVES.1 / unit.size)
            .number("UNIT", unit.size)
            .number("TILE_K", TILE_K)
            .number("SUBGROUP", subgroup)
            .number("WORKGROUP_SIZE", workgroup);
        Some(variant)
    }
}

/// Whether a variant is one of these.
pub(super) fn is(variant: &Variant) -> bool {
    variant.has("UNIT")
}

/// Workgroups for a matrix of `m` x `n` outputs.
pub(super) fn tiles(m: u32, n: u32) -> u64 {
    u64::from(m.div_ceil(TILE.0)) * u64::from(n.div_ceil(TILE.1))
}

/// Iterations of one invocation for sums of `k` terms, with no loop unrolled.
pub(super) fn iterations(variant: &Variant, k: u64) -> Iterations {
    let number = |name| u64::from(variant.get(name));
    let (rows, columns, lanes) = (number("ROWS"), number("COLUMNS"), number("WORKGROUP_SIZE"));
    let (units_m, units_n, unit) = (number("UNITS_M"), number("UNITS_N"), number("UNIT"));
    let loads = (rows + columns) * number("TILE_K") / lanes + 2;
    let cells = unit * unit / number("SUBGROUP");
    let square = if variant.chosen("unit") == Some("lanes") {
        cells * (unit + 1) + 1
    } else {
        0
    };
    let products = units_n + 1 + units_m * (units_n * (square + 1) + 1) + 1;
    let stores = units_m * (units_n * (cells + 2) + 1) + rows * columns / (2 * lanes) + 2;
    let round = loads + number("TILE_K") / unit * (products + 1) + 2;
    let total = k.div_ceil(number("TILE_K")) * (round + 1) + stores + 1;
    Iterations {
        unrolled: total,
        rolled: total,
    }
}
