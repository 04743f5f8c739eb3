//! The two ways a matrix product is laid over an adapter, shared by every weight format.
//!
//! *Tiles*: each lane makes a rectangle of outputs, on its own from registers or with its workgroup
//! through shared memory. *Rows*: at most eight rows of x, whose weights are read once; a lane makes
//! some weight rows alone, or all lanes of a workgroup split the sums of a few.

use crate::shader::{Capabilities, Variant};

use super::shape::ShapeError;

/// Rows of x that a matrix times vectors takes: more leave the registers.
pub(super) const MAX_VECTORS: u32 = 8;

/// Shader entries and variants of one kernel of a family that shares its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// Matrix times matrix.
    Tiles {
        /// Kernel name and register entry.
        entry: &'static str,
        /// Shared-memory entry.
        shared: &'static str,
        /// Outputs of one lane of the register entry, rows by columns: the larger tile and the smaller.
        registers: [(u32, u32); 2],
        /// Elements along k that the shared-memory entry stages at once.
        tile_k: u32,
    },
    /// Matrix times at most [`MAX_VECTORS`] vectors.
    Rows {
        /// Kernel name and entry.
        entry: &'static str,
        /// Steps of a group that one of several lanes takes at a time; `None` where lanes take whole
        /// segments or split them step by step.
        run_steps: Option<u32>,
    },
}

impl Path {
    /// Kernel name, the stem of its shader file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tiles { entry, .. } | Self::Rows { entry, .. } => entry,
        }
    }

    /// Refuses more rows of x than the kernel takes.
    pub fn check_rows(self, m: u32) -> Result<(), ShapeError> {
        match self {
            Self::Rows { entry, .. } if m > MAX_VECTORS => Err(ShapeError::TooLarge {
                kernel: entry,
                name: "m",
                value: m.into(),
                limit: MAX_VECTORS.into(),
                reason: "a lane keeps the sums of all rows of x in registers",
            }),
            Self::Rows { .. } | Self::Tiles { .. } => Ok(()),
        }
    }

    /// Variants for `m` rows of x, best first guess first; `choose` fills the slots of the formats.
    pub fn variants(
        self,
        m: u32,
        capabilities: &Capabilities,
        choose: impl Fn(Variant) -> Variant,
    ) -> Vec<Variant> {
        let mut variants = match self {
            Self::Tiles {
                entry,
                shared,
                registers,
                tile_k,
            } => {
                let register = |(tile_m, tile_n)| {
                    tile(choose(Variant::new(entry)), tile_m, tile_n).number("WORKGROUP_SIZE", 8)
                };
                let staged = |lanes| {
                    tile(choose(Variant::new(shared)), 4, 4)
                        .number("LANES_M", lanes)
                        .number("LANES_N", lanes)
                        .number("TILE_K", tile_k)
                        .number("WORKGROUP_SIZE", lanes * lanes)
                };
                let [large, small] = registers;
                let mut variants = vec![register(large), register(small), staged(8), staged(16)];
                if m < large.0 {
                    variants.swap(0, 1);
                }
                variants
            }
            Self::Rows { entry, run_steps } => {
                let rows = |reduce, rows, lanes, workgroup| {
                    let variant = choose(Variant::new(entry))
                        .slot("reduce_many", reduce)
                        .number("COLUMNS", m)
                        .number("ROWS", rows)
                        .number("LANES", lanes)
                        .number("WORKGROUP_SIZE", workgroup);
                    match run_steps {
                        Some(_) if lanes == 1 => variant.number("RUN_STEPS", ALONE),
                        Some(steps) => variant.number("RUN_STEPS", steps),
                        None => variant,
                    }
                };
                // Fewer rows where there are more columns: past 32 sums a lane runs out of registers.
                let most = if m <= 4 { 8 } else { 4 };
                let mut variants = vec![
                    rows("none", most, 1, 8),
                    rows("none", most / 2, 1, 8),
                    rows("shared", 2, 64, 64),
                ];
                if capabilities.subgroups {
                    variants.push(rows("subgroup", 4, 32, 32));
                }
                variants
            }
        };
        if !capabilities.software {
            // Hardware wants the work shared; a CPU wants it in registers without barriers.
            variants.rotate_left(2);
        }
        variants
    }

    /// Workgroups for `m` rows of x and `n` rows of the weight.
    pub fn workgroups(self, variant: &Variant, m: u32, n: u32) -> u64 {
        match self {
            Self::Tiles { shared, .. } => {
                let (tile_m, tile_n) = (variant.get("TILE_M"), variant.get("TILE_N"));
                let tiles = |rows: u32, columns: u32| {
                    u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns))
                };
                if variant.entry() == shared {
                    tiles(
                        tile_m * variant.get("LANES_M"),
                        tile_n * variant.get("LANES_N"),
                    )
                } else {
                    tiles(tile_m, tile_n).div_ceil(variant.get("WORKGROUP_SIZE").into())
                }
            }
            Self::Rows { .. } => {
                let groups = variant.get("WORKGROUP_SIZE") / variant.get("LANES");
                u64::from(n).div_ceil(u64::from(groups * variant.get("ROWS")))
            }
        }
    }
}

/// Steps that a lane alone takes at a time: whole groups, but for such as are longer than any in use,
/// which are cut and still right.
const ALONE: u32 = 1 << 20;

fn tile(variant: Variant, tile_m: u32, tile_n: u32) -> Variant {
    variant.number("TILE_M", tile_m).number("TILE_N", tile_n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Path = Path::Rows {
        entry: "matvec_quant",
        run_steps: Some(4),
    };

    #[test]
    fn rejects_more_rows_than_registers_hold() {
        assert_eq!(ROWS.check_rows(8), Ok(()));
        assert!(matches!(
            ROWS.check_rows(9),
            Err(ShapeError::TooLarge {
                name: "m",
                value: 9,
                limit: 8,
                ..
            })
        ));
    }

    #[test]
    fn the_grid_covers_every_row() {
        for variant in ROWS.variants(3, &Capabilities::everything(), |variant| variant) {
            for n in [1, 2, 31, 32, 33, 64, 65] {
                let lanes = variant.get("WORKGROUP_SIZE") / variant.get("LANES");
                let covered =
                    ROWS.workgroups(&variant, 3, n) * u64::from(lanes * variant.get("ROWS"));
                assert!(
                    covered >= n.into() && covered < u64::from(n + lanes * variant.get("ROWS"))
                );
            }
        }
    }
}
