//! The ways a matrix product is laid over an adapter, shared by every weight format.
//!
//! *Tiles*: each lane makes a rectangle of outputs from registers; or a workgroup makes a larger one
//! through shared memory; or a subgroup does, handing rows round by shuffles; or all lanes of a workgroup
//! split the sums of a few outputs along k (for few outputs of long sums). *Rows*: at most eight rows of
//! x, whose weights are read once; a lane makes some weight rows alone, or with its subgroup shares the
//! loads of x, or all lanes of a workgroup split the sums.

use crate::shader::{Capabilities, Variant};

use super::guess::{Candidate, Speed, order};
use super::shape::ShapeError;

/// Rows of x that a matrix times vectors takes: more leave the registers.
pub(super) const MAX_VECTORS: u32 = 8;

/// How the entry shader of a variant shares work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Lanes that share nothing.
    Registers,
    /// Workgroups that stage operands in shared memory.
    Shared,
    /// Subgroups that hand rows of x round.
    Subgroup,
    /// Lanes that split whole rows, alone or with their workgroup.
    Rows,
}

/// Shader entries and variants of one kernel of a family that shares its launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Path {
    /// Matrix times matrix.
    Tiles {
        /// Kernel name and register entry.
        entry: &'static str,
        /// Shared-memory entry.
        shared: &'static str,
        /// Subgroup entry.
        subgroup: &'static str,
        /// Entry whose lanes split the sums: that of the family's [`Path::Rows`].
        split: &'static str,
        /// Elements along k that the shared-memory entry stages at once.
        tile_k: u32,
        /// Steps that one lane of the split entry takes at a time, as in [`Path::Rows`].
        run_steps: Option<u32>,
    },
    /// Matrix times at most [`MAX_VECTORS`] vectors.
    Rows {
        /// Kernel name and entry.
        entry: &'static str,
        /// Subgroup entry.
        subgroup: &'static str,
        /// Steps of a group that one of several lanes takes at a time; `None` where lanes take whole
        /// segments or split them step by step.
        run_steps: Option<u32>,
    },
}

/// What the variants of a launch depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extents {
    /// Products of this shape, one behind the other.
    pub batch: u32,
    /// Rows of x.
    pub m: u32,
    /// Rows of the weight.
    pub n: u32,
    /// Groups or segments are whole runs of what subgroup entries take at a time: 16 elements in tiles, 32
    /// by rows.
    pub whole_runs: bool,
}

/// Outputs of one lane of a register tile, rows by columns, and its speed.
const REGISTER_TILES: [(u32, u32, Speed); 2] =
    [(8, 8, speed(40.0, 30.0)), (4, 4, speed(25.0, 25.0))];

/// Row vectors of x by columns of the weight that one lane of a subgroup tile holds.
const SUBGROUP_TILES: [(u32, u32, Speed); 3] = [
    (2, 4, speed(100.0, 22.0)),
    (4, 4, speed(100.0, 20.0)),
    (1, 4, speed(80.0, 18.0)),
];

/// Rows of x by rows of the weight whose sums the lanes of a workgroup split.
pub(super) const SPLIT_TILE: (u32, u32) = (4, 4);

/// Lanes along either side of a shared tile.
const SHARED_TILES: [(u32, Speed); 2] = [(16, speed(6.0, 100.0)), (8, speed(6.0, 80.0))];

const fn speed(software: f64, hardware: f64) -> Speed {
    Speed { software, hardware }
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

    /// Variants of a launch, best first guess first; `choose` fills the slots of the formats.
    pub fn variants(
        self,
        extents: Extents,
        capabilities: &Capabilities,
        choose: impl Fn(Sharing, Variant) -> Variant,
    ) -> Vec<Variant> {
        let variants = match self {
            Self::Tiles { .. } => self.tiles(extents, capabilities, choose),
            Self::Rows { .. } => self.rows(extents, capabilities, choose),
        };
        let Extents { batch, m, n, .. } = extents;
        let batch = u64::from(batch);
        let candidates = variants.into_iter().map(|(variant, speed)| {
            let (rows, columns) = self.tile(&variant);
            let padded =
                |extent: u32, tile: u32| f64::from(extent.div_ceil(tile)) * f64::from(tile);
            Candidate {
                outputs: batch as f64 * padded(m, rows) * padded(n, columns),
                workgroups: batch * self.workgroups(&variant, m, n),
                variant,
                speed,
            }
        });
        order(candidates.collect(), capabilities)
    }

    fn tiles(
        self,
        extents: Extents,
        capabilities: &Capabilities,
        choose: impl Fn(Sharing, Variant) -> Variant,
    ) -> Vec<(Variant, Speed)> {
        let Self::Tiles {
            entry,
            shared,
            subgroup,
            split,
            tile_k,
            run_steps,
        } = self
        else {
            return Vec::new();
        };
        let mut variants = Vec::new();
        for (tile_m, tile_n, speed) in REGISTER_TILES {
            let variant = choose(Sharing::Registers, Variant::new(entry));
            let variant = tile(variant, tile_m, tile_n).number("WORKGROUP_SIZE", 8);
            variants.push((variant, speed));
        }
        for (lanes, speed) in SHARED_TILES {
            let variant = tile(choose(Sharing::Shared, Variant::new(shared)), 4, 4)
                .number("LANES_M", lanes)
                .number("LANES_N", lanes)
                .number("TILE_K", tile_k)
                .number("WORKGROUP_SIZE", lanes * lanes);
            variants.push((variant, speed));
        }
        if let Some(size) = capabilities.subgroup_size().filter(|_| extents.whole_runs) {
            for (tile_m, tile_n, speed) in SUBGROUP_TILES {
                let variant = choose(Sharing::Subgroup, Variant::new(subgroup));
                let variant = tile(variant, tile_m, tile_n).number("SUBGROUP", size);
                variants.push((variant, speed));
            }
        }
        let reduce = if capabilities.subgroups {
            "subgroup"
        } else {
            "shared"
        };
        let variant = choose(Sharing::Rows, Variant::new(split)).slot("reduce_many", reduce);
        variants.push((
            whole_rows(variant, SPLIT_TILE, 64, 64, run_steps),
            speed(3.0, 40.0),
        ));
        variants
    }

    fn rows(
        self,
        extents: Extents,
        capabilities: &Capabilities,
        choose: impl Fn(Sharing, Variant) -> Variant,
    ) -> Vec<(Variant, Speed)> {
        let Self::Rows {
            entry,
            subgroup,
            run_steps,
        } = self
        else {
            return Vec::new();
        };
        let m = extents.m;
        let split = |reduce, rows, lanes, workgroup, speed| {
            let variant = choose(Sharing::Rows, Variant::new(entry)).slot("reduce_many", reduce);
            (
                whole_rows(variant, (m, rows), lanes, workgroup, run_steps),
                speed,
            )
        };
        // Fewer rows where there are more columns: past 32 sums a lane runs out of registers.
        let most = if m <= 4 { 8 } else { 4 };
        let mut variants = vec![
            split("none", most, 1, 8, speed(12.0, 20.0)),
            split("none", most / 2, 1, 8, speed(10.0, 15.0)),
            split("shared", 2, 64, 64, speed(2.0, 90.0)),
        ];
        if capabilities.subgroups {
            variants.push(split("subgroup", 4, 32, 32, speed(2.0, 100.0)));
        }
        let size = capabilities.subgroup_size();
        if let Some(size) = size.filter(|&size| extents.whole_runs && size >= 4) {
            let [own, other] = match capabilities.software {
                true => ["lines", "none"],
                false => ["none", "lines"],
            };
            let together = |touch, rows, speed| {
                let variant = choose(Sharing::Subgroup, Variant::new(subgroup))
                    .slot("touch", touch)
                    .number("COLUMNS", m)
                    .number("ROWS", rows)
                    .number("SUBGROUP", size);
                (variant, speed)
            };
            let all = [
                (4, speed(28.0, 25.0)),
                (2, speed(24.0, 22.0)),
                (8, speed(20.0, 25.0)),
            ];
            for (rows, speed) in all.into_iter().filter(|(rows, _)| *rows <= most) {
                variants.push(together(own, rows, speed));
            }
            // For those who measure what the other is worth.
            variants.push(together(other, 4, speed(18.0, 18.0)));
        }
        variants
    }

    /// Outputs of one workgroup: rows by columns.
    fn tile(self, variant: &Variant) -> (u32, u32) {
        let number = |name| variant.get(name);
        match sharing(variant) {
            Sharing::Registers => (
                number("TILE_M"),
                number("TILE_N") * number("WORKGROUP_SIZE"),
            ),
            Sharing::Shared => (
                number("TILE_M") * number("LANES_M"),
                number("TILE_N") * number("LANES_N"),
            ),
            Sharing::Rows => (
                number("COLUMNS"),
                number("ROWS") * (number("WORKGROUP_SIZE") / number("LANES")),
            ),
            Sharing::Subgroup => match self {
                Self::Tiles { .. } => (
                    number("TILE_M") * number("SUBGROUP"),
                    number("TILE_N") * number("SUBGROUP"),
                ),
                Self::Rows { .. } => (number("COLUMNS"), number("ROWS") * number("SUBGROUP")),
            },
        }
    }

    /// Workgroups for `m` rows of x and `n` rows of the weight.
    pub fn workgroups(self, variant: &Variant, m: u32, n: u32) -> u64 {
        if sharing(variant) == Sharing::Registers {
            // Lanes take tiles one after the other, over the ends of rows.
            let tiles = u64::from(m.div_ceil(variant.get("TILE_M")))
                * u64::from(n.div_ceil(variant.get("TILE_N")));
            return tiles.div_ceil(variant.get("WORKGROUP_SIZE").into());
        }
        let (rows, columns) = self.tile(variant);
        u64::from(m.div_ceil(rows)) * u64::from(n.div_ceil(columns))
    }
}

/// How a variant shares work, by the constants it was given.
pub(super) fn sharing(variant: &Variant) -> Sharing {
    if variant.has("SUBGROUP") {
        Sharing::Subgroup
    } else if variant.has("LANES_M") {
        Sharing::Shared
    } else if variant.has("LANES") {
        Sharing::Rows
    } else {
        Sharing::Registers
    }
}

/// Constants of an entry whose lanes make `rows` weight rows by `columns` rows of x.
fn whole_rows(
    variant: Variant,
    (columns, rows): (u32, u32),
    lanes: u32,
    workgroup: u32,
    run_steps: Option<u32>,
) -> Variant {
    let variant = variant
        .number("COLUMNS", columns)
        .number("ROWS", rows)
        .number("SUMS", columns * rows)
        .number("LANES", lanes)
        .number("WORKGROUP_SIZE", workgroup);
    match run_steps {
        Some(_) if lanes == 1 => variant.number("RUN_STEPS", ALONE),
        Some(steps) => variant.number("RUN_STEPS", steps),
        None => variant,
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
        subgroup: "matvec_quant/subgroup",
        run_steps: Some(4),
    };

    const TILES: Path = Path::Tiles {
        entry: "matmul_quant",
        shared: "matmul_quant/shared",
        subgroup: "matmul_quant/subgroup",
        split: "matvec_quant",
        tile_k: 16,
        run_steps: Some(4),
    };

    fn variants(path: Path, m: u32, n: u32, capabilities: &Capabilities) -> Vec<Variant> {
        let extents = Extents {
            batch: 1,
            m,
            n,
            whole_runs: true,
        };
        path.variants(extents, capabilities, |_, variant| variant)
    }

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
    fn the_grid_covers_every_output_and_no_more_than_a_tile_past_the_edge() {
        for (path, m) in [(ROWS, 3), (TILES, 9), (TILES, 33), (TILES, 64)] {
            for n in [1, 2, 31, 32, 33, 64, 65] {
                for variant in variants(path, m, n, &Capabilities::everything()) {
                    let (rows, columns) = path.tile(&variant);
                    let workgroups = path.workgroups(&variant, m, n);
                    let covered = workgroups * u64::from(rows) * u64::from(columns);
                    assert!(covered >= u64::from(m) * u64::from(n), "{variant}");
                    assert!(
                        covered < u64::from(m + rows) * u64::from(n + columns),
                        "{variant}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_first_guess_suits_the_class_of_the_adapter() {
        let software = Capabilities {
            software: true,
            ..Capabilities::everything()
        };
        let first = |path, m, n, capabilities: &Capabilities| {
            sharing(&variants(path, m, n, capabilities)[0])
        };
        assert_eq!(first(TILES, 512, 512, &software), Sharing::Subgroup);
        assert_eq!(
            first(TILES, 512, 512, &Capabilities::everything()),
            Sharing::Shared
        );
        assert_eq!(
            first(TILES, 12, 64, &Capabilities::everything()),
            Sharing::Rows
        );
        assert_eq!(first(ROWS, 1, 4096, &software), Sharing::Subgroup);
    }
}
