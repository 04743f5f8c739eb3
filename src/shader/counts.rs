//! What one invocation's code says it does, counted in naga's IR of a validated shader.
//!
//! The counts are static: every place in the text counts once, whatever a loop or a branch makes of
//! it at run time. A loop's body counts once, both arms of a branch count, and a function counts
//! once for each place that calls it. So the numbers compare two variants of a kernel (does this one
//! load less per multiply-add?) and say nothing about time; a driver may also remove, merge or repeat
//! any of it.
//!
//! Functions stand in naga's arena after those they call, which its validator checks, so one pass in
//! arena order knows the counts of every callee, however often the same one is reached.

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{
    AddressSpace, ArraySize, BinaryOperator, Block, Expression, Function, Handle, MathFunction,
    Module, ScalarKind, Statement, TypeInner,
};
use serde::Serialize;

/// Static counts of an entry point and everything it calls. Loads and stores are counted in scalars,
/// so that a `vec4` is 4 and a matrix is columns times rows, whatever the width of the scalar.
///
/// Counts that pass `u32::MAX` stay there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct StaticCounts {
    /// Scalars loaded from storage buffers. An atomic read-modify-write is a load and a store.
    pub storage_loads: u32,
    /// Scalars stored to storage buffers.
    pub storage_stores: u32,
    /// Scalars loaded from workgroup memory, also by `workgroupUniformLoad`.
    pub workgroup_loads: u32,
    /// Scalars stored to workgroup memory.
    pub workgroup_stores: u32,
    /// Scalar multiplications of floats: by `*`, `fma` and `dot`, each with or without an addition
    /// to join. Not those inside other built-in functions, and not those of integers.
    pub multiply_adds: u32,
    /// `dot4I8Packed` and `dot4U8Packed`, each of which is four integer multiply-adds.
    pub dot4: u32,
    /// Cooperative matrix products, each of which is the work of a whole subgroup.
    pub matrix_products: u32,
    /// Control and memory barriers, and `workgroupUniformLoad`, which holds one.
    pub barriers: u32,
    /// Subgroup ballots, reductions, scans, broadcasts and shuffles.
    pub subgroup_ops: u32,
    /// Loops of any form.
    pub loops: u32,
}

impl StaticCounts {
    fn add(&mut self, other: &StaticCounts) {
        let StaticCounts {
            storage_loads,
            storage_stores,
            workgroup_loads,
            workgroup_stores,
            multiply_adds,
            dot4,
            matrix_products,
            barriers,
            subgroup_ops,
            loops,
        } = other;
        for (total, more) in [
            (&mut self.storage_loads, storage_loads),
            (&mut self.storage_stores, storage_stores),
            (&mut self.workgroup_loads, workgroup_loads),
            (&mut self.workgroup_stores, workgroup_stores),
            (&mut self.multiply_adds, multiply_adds),
            (&mut self.dot4, dot4),
            (&mut self.matrix_products, matrix_products),
            (&mut self.barriers, barriers),
            (&mut self.subgroup_ops, subgroup_ops),
            (&mut self.loops, loops),
        ] {
            grow(total, *more);
        }
    }
}

/// Counts of the module's entry point.
pub(super) fn count(module: &Module, info: &ModuleInfo) -> StaticCounts {
    let mut counted: Vec<StaticCounts> = Vec::with_capacity(module.functions.len());
    for (handle, function) in module.functions.iter() {
        let counts = count_function(module, function, &info[handle], &counted);
        counted.push(counts);
    }
    match module.entry_points.first() {
        Some(entry) => count_function(module, &entry.function, info.get_entry_point(0), &counted),
        None => StaticCounts::default(),
    }
}

fn count_function(
    module: &Module,
    function: &Function,
    info: &FunctionInfo,
    counted: &[StaticCounts],
) -> StaticCounts {
    let mut walk = Walk {
        module,
        function,
        info,
        counted,
        counts: StaticCounts::default(),
    };
    walk.block(&function.body);
    walk.counts
}

/// A walk through the statements of one function.
struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    info: &'a FunctionInfo,
    /// Counts of the functions before this one in the arena.
    counted: &'a [StaticCounts],
    counts: StaticCounts,
}

impl Walk<'_> {
    fn block(&mut self, block: &Block) {
        for statement in block {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Emit(range) => {
                for handle in range.clone() {
                    self.expression(handle);
                }
            }
            Statement::Block(block) => self.block(block),
            Statement::If { accept, reject, .. } => {
                self.block(accept);
                self.block(reject);
            }
            Statement::Switch { cases, .. } => {
                for case in cases {
                    self.block(&case.body);
                }
            }
            Statement::Loop {
                body, continuing, ..
            } => {
                grow(&mut self.counts.loops, 1);
                self.block(body);
                self.block(continuing);
            }
            Statement::ControlBarrier(_) | Statement::MemoryBarrier(_) => {
                grow(&mut self.counts.barriers, 1);
            }
            Statement::Store { pointer, .. } => self.store(*pointer),
            Statement::Atomic { pointer, .. } => {
                self.load(*pointer);
                self.store(*pointer);
            }
            Statement::WorkGroupUniformLoad { pointer, .. } => {
                grow(&mut self.counts.barriers, 1);
                self.load(*pointer);
            }
            Statement::Call { function, .. } => self.counts.add(&self.counted[function.index()]),
            Statement::SubgroupBallot { .. }
            | Statement::SubgroupGather { .. }
            | Statement::SubgroupCollectiveOperation { .. } => {
                grow(&mut self.counts.subgroup_ops, 1);
            }
            // Jumps do nothing that is counted, and cooperative matrices are counted where they multiply;
            // images and rays are nothing the linked shaders may use.
            Statement::Break
            | Statement::Continue
            | Statement::Return { .. }
            | Statement::Kill
            | Statement::ImageStore { .. }
            | Statement::ImageAtomic { .. }
            | Statement::RayQuery { .. }
            | Statement::RayPipelineFunction(_)
            | Statement::CooperativeStore { .. } => {}
        }
    }

    fn expression(&mut self, handle: Handle<Expression>) {
        match &self.function.expressions[handle] {
            Expression::Load { pointer } => self.load(*pointer),
            Expression::Binary {
                op: BinaryOperator::Multiply,
                left,
                right,
            } if is_float(self.inner(handle)) => {
                let lanes = multiplications(self.inner(*left), self.inner(*right));
                grow(&mut self.counts.multiply_adds, lanes);
            }
            Expression::Math {
                fun: MathFunction::Fma | MathFunction::Dot,
                arg,
                ..
            } if is_float(self.inner(*arg)) => {
                let lanes = scalars(self.module, self.inner(*arg));
                grow(&mut self.counts.multiply_adds, lanes);
            }
            Expression::Math {
                fun: MathFunction::Dot4I8Packed | MathFunction::Dot4U8Packed,
                ..
            } => grow(&mut self.counts.dot4, 1),
            Expression::CooperativeMultiplyAdd { .. } => {
                grow(&mut self.counts.matrix_products, 1);
            }
            _ => {}
        }
    }

    fn load(&mut self, pointer: Handle<Expression>) {
        match self.pointee(pointer) {
            Some((AddressSpace::Storage { .. }, n)) => grow(&mut self.counts.storage_loads, n),
            Some((AddressSpace::WorkGroup, n)) => grow(&mut self.counts.workgroup_loads, n),
            _ => {}
        }
    }

    fn store(&mut self, pointer: Handle<Expression>) {
        match self.pointee(pointer) {
            Some((AddressSpace::Storage { .. }, n)) => grow(&mut self.counts.storage_stores, n),
            Some((AddressSpace::WorkGroup, n)) => grow(&mut self.counts.workgroup_stores, n),
            _ => {}
        }
    }

    /// Where a pointer points, and how many scalars are there.
    fn pointee(&self, pointer: Handle<Expression>) -> Option<(AddressSpace, u32)> {
        match self.inner(pointer) {
            TypeInner::Pointer { base, space } => {
                let inner = &self.module.types[*base].inner;
                Some((*space, scalars(self.module, inner)))
            }
            TypeInner::ValuePointer { size, space, .. } => {
                Some((*space, size.map_or(1, |size| size as u32)))
            }
            _ => None,
        }
    }

    fn inner(&self, handle: Handle<Expression>) -> &TypeInner {
        self.info[handle].ty.inner_with(&self.module.types)
    }
}

/// Scalars in a value of a type, 0 for what cannot be loaded as a whole.
fn scalars(module: &Module, inner: &TypeInner) -> u32 {
    match inner {
        TypeInner::Scalar(_) | TypeInner::Atomic(_) => 1,
        TypeInner::Vector { size, .. } => *size as u32,
        TypeInner::Matrix { columns, rows, .. } => *columns as u32 * *rows as u32,
        TypeInner::Array {
            base,
            size: ArraySize::Constant(length),
            ..
        } => scalars(module, &module.types[*base].inner).saturating_mul(length.get()),
        TypeInner::Struct { members, .. } => members
            .iter()
            .map(|member| scalars(module, &module.types[member.ty].inner))
            .fold(0, u32::saturating_add),
        _ => 0,
    }
}

/// Scalar multiplications in `left * right`. Matrices multiply columns by rows; everything else
/// multiplies lane by lane.
fn multiplications(left: &TypeInner, right: &TypeInner) -> u32 {
    // A scalar has 1 column of 1, a vector 1 column of n.
    let shape = |inner: &TypeInner| match inner {
        TypeInner::Matrix { columns, rows, .. } => (*columns as u32, *rows as u32),
        TypeInner::Vector { size, .. } => (1, *size as u32),
        _ => (1, 1),
    };
    let is_matrix = |inner: &TypeInner| matches!(inner, TypeInner::Matrix { .. });
    let is_scalar = |inner: &TypeInner| matches!(inner, TypeInner::Scalar(_));
    let (left_columns, left_rows) = shape(left);
    let (right_columns, right_rows) = shape(right);
    if is_scalar(left) || is_scalar(right) || !(is_matrix(left) || is_matrix(right)) {
        (left_columns * left_rows).max(right_columns * right_rows)
    } else if is_matrix(left) {
        left_columns * left_rows * right_columns
    } else {
        right_columns * right_rows
    }
}

fn is_float(inner: &TypeInner) -> bool {
    inner.scalar_kind() == Some(ScalarKind::Float)
}

fn grow(total: &mut u32, more: u32) {
    *total = total.saturating_add(more);
}
