//! Cases of the products with pruned weights: each a masked matrix packed by [`crate::num`], so that what
//! kernels read is what users have.

use std::sync::Arc;

use crate::kernels::epilogue::{BIAS, RESIDUAL};
use crate::kernels::{Case, DataKind, Epilogue, FloatType};
use crate::num::{
    Dense, Philox, ScaleType, SparseLayout, SparseMatrix, StoredFormat, ValueFormat, Values,
};

use super::{PLACES, SCALES, STARTS, SparseLaunch, SparseMatmul, VALUES, X};

/// Which weights of a case are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kept {
    /// This share of the groups' places, blocks or weights; N:M patterns are always full.
    Share(f64),
    /// Rows (of blocks) of every length from none to all.
    Uneven,
    /// Everything.
    All,
    /// Nothing.
    None,
}

/// One case before it is built.
#[derive(Debug, Clone, Copy)]
pub struct SparseCase {
    pub extents: (u32, u32, u32),
    pub layout: SparseLayout,
    pub values: ValueFormat,
    pub kept: Kept,
    pub x: FloatType,
    pub epilogue: Epilogue,
    pub out: FloatType,
    pub data: DataKind,
}

impl SparseCase {
    /// A plain case of f32 activations.
    pub const fn new(
        extents: (u32, u32, u32),
        layout: SparseLayout,
        values: ValueFormat,
        kept: Kept,
    ) -> Self {
        Self {
            extents,
            layout,
            values,
            kept,
            x: FloatType::F32,
            epilogue: Epilogue::CASES[0],
            out: FloatType::F32,
            data: DataKind::Integers,
        }
    }

    /// This case with every kind of data.
    pub fn with(self, kinds: &[DataKind]) -> impl Iterator<Item = Self> {
        kinds.iter().map(move |&data| Self { data, ..self })
    }

    /// The case; `None` when the kind of data cannot be stored so, or the shape is refused, which the
    /// shape tests cover.
    pub fn build(&self) -> Option<Case> {
        let (m, n, k) = self.extents;
        let (rows, columns, length) = (m as usize, n as usize, k as usize);
        let seed = u64::from(m) << 40 | u64::from(n) << 20 | u64::from(k);
        let matrix = self.matrix(seed)?;
        let shape = SparseMatmul {
            x: self.x,
            epilogue: self.epilogue,
            out: self.out,
            ..SparseMatmul::of(&matrix, m)
        };
        let x = self.x.pack(&self.data.values(seed, rows * length));
        let mut operands = vec![(X, x)];
        operands.extend(matrix_operands(&matrix));
        if self.data == DataKind::Integers {
            let exact = powers_of_two(&matrix);
            for (binding, words) in &mut operands {
                if *binding == SCALES {
                    words.clone_from(&exact);
                }
            }
        }
        let floats = |seed, count| FloatType::F32.pack(&self.data.values(seed, count));
        if self.epilogue.bias {
            operands.push((BIAS, floats(seed + 2, columns)));
        }
        if self.epilogue.residual {
            operands.push((RESIDUAL, floats(seed + 3, rows * columns)));
        }
        let launch = Arc::new(SparseLaunch::new(shape).ok()?);
        let mut case = Case::new(launch, operands, self.data);
        case.name = format!("{} {:?}", case.name, self.kept).to_lowercase();
        Some(if self.epilogue.activation.is_exact() {
            case
        } else {
            case.bounded()
        })
    }

    fn matrix(&self, seed: u64) -> Option<SparseMatrix> {
        let (_, n, k) = self.extents;
        let (n, k) = (n as usize, k as usize);
        let quantized = matches!(self.values, ValueFormat::Quantized(_));
        let data = match self.data {
            // Scales become powers of two afterwards; codes should fill their range.
            DataKind::Integers if quantized => DataKind::Normal,
            // A product of two outliers overflows.
            DataKind::Outliers => DataKind::Normal,
            other => other,
        };
        let mut weights = data.values(seed + 1, n * k);
        for (at, weight) in weights.iter_mut().enumerate() {
            if !self.keeps(seed, [at / k, at % k]) {
                *weight = 0.0;
            } else if *weight == 0.0 && self.data == DataKind::Integers {
                *weight = 1.0;
            }
        }
        let dense = Dense {
            name: "case",
            weights: &weights,
            n,
            k,
        };
        SparseMatrix::compress(&dense, self.layout, self.values).ok()
    }

    /// Whether the weight at a row and column is kept.
    fn keeps(&self, seed: u64, [row, column]: [usize; 2]) -> bool {
        let (_, n, _) = self.extents;
        // The unit that is kept or pruned as one: a vector's column, a block, a weight.
        let (unit_row, unit_column) = match self.layout {
            SparseLayout::Nm(pattern) => (row / pattern.vector() as usize, column),
            SparseLayout::Block(shape) => (row / shape.rows(), column / shape.columns()),
            SparseLayout::Delta(_) => (row, column),
        };
        let random = Philox::new(seed);
        let draw = |column: usize| random.block([unit_row as u32, column as u32, 0, 0])[0];
        if let SparseLayout::Nm(pattern) = self.layout {
            let group = column / pattern.m() as usize * pattern.m() as usize;
            let mine = (draw(column), column);
            let before = (group..group + pattern.m() as usize)
                .filter(|&other| (draw(other), other) < mine)
                .count();
            return before < pattern.n() as usize && self.kept != Kept::None;
        }
        let share = match self.kept {
            Kept::Share(share) => share,
            Kept::Uneven => (row % 7) as f64 / 6.0 * (1.0 + row as f64 / f64::from(n)) / 2.0,
            Kept::All => 1.0,
            Kept::None => 0.0,
        };
        f64::from(draw(unit_column)) < share * 4_294_967_296.0
    }
}

/// A matrix as operands of its kernel.
pub fn matrix_operands(matrix: &SparseMatrix) -> Vec<(u32, Vec<u32>)> {
    let mut operands = vec![(VALUES, matrix.values().words().to_vec())];
    operands.extend(matrix.values().scale_words().map(|scales| (SCALES, scales)));
    match matrix {
        SparseMatrix::Nm(nm) => operands.push((PLACES, nm.indices().to_vec())),
        SparseMatrix::Block(block) => {
            operands.push((PLACES, block.block_columns().to_vec()));
            operands.push((STARTS, block.row_starts().to_vec()));
        }
        SparseMatrix::Delta(delta) => {
            operands.push((PLACES, delta.deltas().to_vec()));
            operands.push((STARTS, delta.row_starts().to_vec()));
        }
    }
    operands
}

/// Scales that keep integer products exact.
fn powers_of_two(matrix: &SparseMatrix) -> Vec<u32> {
    let (Values::Quantized(values), StoredFormat::Quantized(format)) =
        (matrix.values(), matrix.values().format())
    else {
        return Vec::new();
    };
    let count = values.scales().len();
    let powers: Vec<f32> = (0..count)
        .map(|index| [0.5, 1.0, 2.0, -1.0][(index * 7 + index / 5) % 4])
        .collect();
    match format.scale_type {
        ScaleType::F32 => FloatType::F32.pack(&powers),
        ScaleType::F16 => FloatType::F16.pack(&powers),
    }
}
