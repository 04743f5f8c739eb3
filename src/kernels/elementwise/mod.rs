//! One operation on each element: `out[i] = f(a[i])` or `f(a[i], b[..])` over `[rows, columns]`, with
//! `b` whole, one value a row, one a column, or one for all.
//!
//! Computed in f32 from f32, f16 or bf16 and rounded once to the output's type, nearest even, by
//! integer bits. Functions are written so that nothing overflows on the way to a finite result; the
//! bounds are those of the WGSL specification (section 15.7.4, accuracy of built-in functions).
//! Outside the domain named at each operation the result is whatever the driver gives: WGSL promises
//! neither NaN nor infinity.

mod cases;
mod operation;

use std::sync::Arc;

use crate::record::{
    Access, Bound, Cost, HostOperands, HostResults, Iterations, Launch, Output, Part, Slot, params,
};
use crate::shader::{Capabilities, Variant};

use super::epilogue::stored;
use super::fast::{Stored, fill, fill_stored};
use super::shape::{ShapeError, check_extents, check_index};
use super::split::{Streams, Tile, cut};
use super::{FloatType, Kernel, Workload, WorkloadError};

pub use operation::{Binary, Broadcast, Operation, Second, Unary};

const NAME: &str = "elementwise";
const A: u32 = 1;
const B: u32 = 2;
const OUT: u32 = 8;

/// Elements that one of a host's cores makes at a time.
const PIECE: usize = 256;

params! {
    struct Params {
        count: u32,
        first: u32,
        columns: u32,
        alpha: f32,
        beta: f32,
    }
}

/// Shape, operation and types.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elementwise {
    /// Rows of `a` and of the output.
    pub rows: u32,
    /// Columns of `a` and of the output.
    pub columns: u32,
    /// What is computed, and the second operand.
    pub operation: Operation,
    /// Storage of the first operand.
    pub a: FloatType,
    /// Storage of the output.
    pub out: FloatType,
}

/// The launch: all elements, or the run of them that fits a binding limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ElementwiseLaunch {
    shape: Elementwise,
    /// Elements of this launch.
    count: u32,
    /// Index of the first in the whole tensor.
    first: u32,
}

impl Elementwise {
    /// Checks the shape and makes a launch of it.
    ///
    /// # Errors
    /// [`ShapeError`] for empty extents, more elements than 32 bits index, and settings that are
    /// not finite.
    pub fn launch(self) -> Result<Arc<dyn Launch>, ShapeError> {
        let Self {
            rows,
            columns,
            operation,
            ..
        } = self;
        check_extents(NAME, &[("rows", rows.into()), ("columns", columns.into())])?;
        let elements = u64::from(rows) * u64::from(columns);
        check_index(NAME, "rows * columns", elements)?;
        let settings = match operation {
            Operation::Affine { alpha, beta } => [("alpha", alpha), ("beta", beta)],
            Operation::Unary(unary) => [("setting", unary.setting().unwrap_or(1.0)), ("", 0.0)],
            Operation::Binary(..) => [("", 0.0); 2],
        };
        let unfinished = settings.into_iter().find(|(_, value)| !value.is_finite());
        if let Some((name, value)) = unfinished {
            let (value, allowed) = (value.to_string(), "finite numbers");
            return Err(ShapeError::Unsupported {
                kernel: NAME,
                name,
                value,
                allowed,
            });
        }
        Ok(Arc::new(ElementwiseLaunch {
            shape: self,
            count: rows * columns,
            first: 0,
        }))
    }
}

impl ElementwiseLaunch {
    /// Elements of the second operand that this launch may read, from the first of its binding.
    fn second_len(&self, broadcast: Broadcast) -> u64 {
        match broadcast {
            Broadcast::Full => self.count.into(),
            Broadcast::Row => self.shape.rows.into(),
            Broadcast::Column => self.shape.columns.into(),
            Broadcast::Scalar => 1,
        }
    }

    fn for_each(&self, operands: &HostOperands<'_>, mut visit: impl FnMut(f64, f64)) {
        let count = self.count as usize;
        let a = self.shape.a.unpack(operands.words(A), count);
        let second = self.shape.operation.second();
        let b = second.map_or_else(Vec::new, |second| {
            second.storage.unpack(
                operands.words(B),
                self.second_len(second.broadcast) as usize,
            )
        });
        for (index, &value) in a.iter().enumerate() {
            visit(value.into(), self.other(&b, index).into());
        }
    }

    /// The element of the second operand that meets an element of the first; 0 where there is none.
    fn other(&self, b: &[f32], index: usize) -> f32 {
        let columns = self.shape.columns as usize;
        let whole_index = self.first as usize + index;
        let second = self.shape.operation.second();
        second.map_or(0.0, |second| match second.broadcast {
            Broadcast::Full => b[index],
            Broadcast::Row => b[whole_index / columns],
            Broadcast::Column => b[whole_index % columns],
            Broadcast::Scalar => b[0],
        })
    }
}

impl Launch for ElementwiseLaunch {
    fn kernel(&self) -> &'static str {
        NAME
    }

    fn describe(&self) -> String {
        let Elementwise {
            rows,
            columns,
            operation,
            a,
            out,
        } = self.shape;
        let mut text = format!("{} rows={rows} columns={columns} a-{a}", operation.name());
        if let Some(Second { broadcast, storage }) = operation.second() {
            text.push_str(&format!(" b-{storage}-{}", broadcast.name()));
        }
        if let Operation::Affine { alpha, beta } = operation {
            text.push_str(&format!(" alpha={alpha} beta={beta}"));
        }
        if let Operation::Unary(unary) = operation
            && let Some(setting) = unary.setting()
        {
            text.push_str(&format!(" setting={setting}"));
        }
        text.push_str(&format!(" out-{out}"));
        if self.count != rows * columns {
            text.push_str(&format!(" from {} count={}", self.first, self.count));
        }
        text
    }

    fn slots(&self) -> Vec<Slot> {
        let Elementwise {
            operation, a, out, ..
        } = self.shape;
        let count = u64::from(self.count);
        let mut slots = vec![Slot {
            binding: A,
            name: "x",
            access: Access::Read,
            bytes: count * a.bytes(),
        }];
        slots.extend(operation.second().map(|Second { broadcast, storage }| {
            let bytes = self.second_len(broadcast) * storage.bytes();
            Slot {
                binding: B,
                name: "b_values",
                access: Access::Read,
                bytes,
            }
        }));
        slots.push(Slot {
            binding: OUT,
            name: "out",
            access: Access::Write,
            bytes: count * out.bytes(),
        });
        slots
    }

    fn params(&self) -> Vec<u8> {
        let (alpha, beta) = match self.shape.operation {
            Operation::Affine { alpha, beta } => (alpha, beta),
            Operation::Unary(unary) => (unary.setting().unwrap_or(1.0), 0.0),
            Operation::Binary(..) => (1.0, 0.0),
        };
        let (count, first, columns) = (self.count, self.first, self.shape.columns);
        bytemuck::bytes_of(&Params {
            count,
            first,
            columns,
            alpha,
            beta,
        })
        .to_vec()
    }

    fn param_fields(&self) -> &'static [(&'static str, usize)] {
        Params::FIELDS
    }

    fn variants(&self, _: &Capabilities) -> Vec<Variant> {
        let Elementwise {
            operation, a, out, ..
        } = self.shape;
        let variant = Variant::new(NAME).number("WORKGROUP_SIZE", 64);
        let variant = variant
            .slot("operation", operation.name())
            .slot("element", a.name())
            .slot("pair", out.name());
        vec![match operation.second() {
            Some(Second { broadcast, storage }) => variant
                .slot("broadcast", broadcast.name())
                .slot("second", storage.name()),
            None => variant.slot("broadcast", "absent"),
        }]
    }

    fn workgroups(&self, variant: &Variant) -> u64 {
        u64::from(self.count).div_ceil(2 * u64::from(variant.get("WORKGROUP_SIZE")))
    }

    fn iterations(&self, _variant: &Variant) -> Iterations {
        // No loop depends on the shape.
        Iterations::default()
    }

    fn reference(&self, operands: &HostOperands<'_>) -> Vec<Output> {
        let mut values = Vec::with_capacity(self.count as usize);
        self.for_each(operands, |a, b| {
            values.push(self.shape.operation.apply(a, b))
        });
        vec![Output::new(OUT, stored(self.shape.out, values))]
    }

    fn fast(&self, operands: &HostOperands<'_>, results: &mut HostResults<'_>) -> bool {
        let Elementwise {
            operation, a, out, ..
        } = self.shape;
        let count = self.count as usize;
        let a = Stored::new(a, operands.words(A)).all(count);
        let b = operation.second().map(|second| {
            let len = self.second_len(second.broadcast) as usize;
            Stored::new(second.storage, operands.words(B)).all(len)
        });
        let b = b.as_deref().unwrap_or_default();
        fill_stored(results, OUT, (out, count), |values| {
            fill(
                values,
                (PIECE, 8 * PIECE),
                || (),
                |(), piece, values| {
                    for (at, value) in values.iter_mut().enumerate() {
                        let index = piece * PIECE + at;
                        let made = operation.apply(a[index].into(), self.other(b, index).into());
                        *value = made as f32;
                    }
                },
            );
        });
        true
    }

    fn bound(&self, operands: &HostOperands<'_>) -> Vec<Bound> {
        let Elementwise { operation, out, .. } = self.shape;
        let mut allowed = Vec::with_capacity(self.count as usize);
        self.for_each(operands, |a, b| {
            let (size, error) = (operation.apply(a, b).abs(), operation.error(a, b));
            allowed.push(error + out.store_error(size + error));
        });
        vec![Bound::Absolute(allowed)]
    }

    fn cost(&self) -> Cost {
        let bytes = self.slots().iter().map(|slot| slot.bytes).sum::<u64>();
        Cost {
            operations: f64::from(self.count),
            bytes: bytes as f64,
        }
    }

    fn split(&self, max_bytes: u64, alignment: u64) -> Option<Vec<Part>> {
        let mut streams = Streams {
            by_row: vec![(A, self.shape.a.bytes()), (OUT, self.shape.out.bytes())],
            ..Streams::default()
        };
        if let Some(Second { broadcast, storage }) = self.shape.operation.second() {
            match broadcast {
                Broadcast::Full => streams.by_row.push((B, storage.bytes())),
                Broadcast::Row | Broadcast::Column | Broadcast::Scalar => {
                    streams
                        .whole
                        .push((B, self.second_len(broadcast) * storage.bytes()));
                }
            }
        }
        let part = |tile: Tile| {
            let count = tile.rows.end - tile.rows.start;
            let launch = Arc::new(Self {
                count,
                first: self.first + tile.rows.start,
                ..*self
            });
            Part {
                launch,
                ranges: tile.ranges,
            }
        };
        let tiles = cut(self.count, 1, &streams, max_bytes, alignment)?;
        Some(tiles.into_iter().map(part).collect())
    }
}

fn workload(asked: &mut Workload<'_>) -> Result<Arc<dyn Launch>, WorkloadError> {
    let [rows, columns] = asked.extents("ROWSxCOLUMNS")?;
    let second = Second {
        storage: FloatType::F32,
        broadcast: Broadcast::Full,
    };
    let unary = asked.choose(&Unary::ALL.map(|one| (one.name(), Operation::Unary(one))));
    let binary = asked.choose(&Binary::ALL.map(|one| (one.name(), Operation::Binary(one, second))));
    let a = asked.float().unwrap_or(FloatType::F32);
    let shape = Elementwise {
        rows,
        columns,
        operation: unary.or(binary).unwrap_or(Operation::Unary(Unary::Silu)),
        a,
        out: asked.float().unwrap_or(a),
    };
    Ok(shape.launch()?)
}

/// Registry entry.
pub static KERNEL: Kernel = Kernel {
    name: NAME,
    summary: "arithmetic, functions and activations on each element, with broadcasting",
    workload,
    cases: cases::cases,
    broken: cases::BROKEN,
    expected_failures: &[],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::DataKind;
    use crate::kernels::parts_test::check_parts;

    fn affine(alpha: f32, beta: f32) -> Elementwise {
        let operation = Operation::Affine { alpha, beta };
        Elementwise {
            rows: 2,
            columns: 3,
            operation,
            a: FloatType::F32,
            out: FloatType::F32,
        }
    }

    #[test]
    fn rejects_an_affine_map_that_is_not_finite() {
        let error = affine(1.0, f32::NAN)
            .launch()
            .expect_err("beta is no number");
        assert_eq!(
            error.to_string(),
            "elementwise: beta is NaN; allowed: finite numbers"
        );
        assert!(affine(f32::INFINITY, 0.0).launch().is_err());
        assert!(affine(2.0, 1.0).launch().is_ok());
    }

    #[test]
    fn rejects_empty_and_too_large_extents() {
        let empty = Elementwise {
            columns: 0,
            ..affine(1.0, 0.0)
        };
        assert!(matches!(
            empty.launch(),
            Err(ShapeError::Zero {
                name: "columns",
                ..
            })
        ));
        let large = Elementwise {
            rows: 1 << 16,
            columns: 1 << 16,
            ..affine(1.0, 0.0)
        };
        assert!(matches!(
            large.launch(),
            Err(ShapeError::TooLarge {
                name: "rows * columns",
                ..
            })
        ));
    }

    #[test]
    fn every_operation_has_its_shader() {
        let sources = crate::shader::Sources::embedded();
        let binary = Binary::ALL.map(Binary::name);
        for name in Unary::ALL
            .map(Unary::name)
            .iter()
            .chain(&binary)
            .chain(&["affine"])
        {
            assert!(
                sources.get(&format!("operation/{name}")).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn parts_make_what_the_whole_makes() {
        let (rows, columns) = (31, 37);
        for broadcast in Broadcast::ALL {
            let second = Second {
                broadcast,
                storage: FloatType::F32,
            };
            let operation = Operation::Binary(Binary::Add, second);
            let shape = Elementwise {
                rows,
                columns,
                operation,
                a: FloatType::F16,
                out: FloatType::F16,
            };
            let launch = shape.launch().expect("valid");
            let a = FloatType::F16.pack(&DataKind::Integers.values(1, 31 * 37));
            let b = FloatType::F32.pack(&DataKind::Integers.values(2, 31 * 37));
            assert!(check_parts(launch.as_ref(), &[(A, a), (B, b)], 1024, 256) > 2);
        }
    }
}
