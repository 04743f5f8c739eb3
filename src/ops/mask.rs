//! Pruning masks on an engine: chosen from scores by a pattern, and applied to weights. The words are those
//! of [`crate::num::mask`], bit for bit.

use crate::kernels::elementwise::Unary;
use crate::kernels::fill::Fill;
use crate::kernels::mask_apply::MaskApply;
use crate::kernels::mask_count::{LEVELS, MaskCount, STATE_WORDS};
use crate::kernels::mask_nm::MaskNm;
use crate::kernels::mask_pick::MaskPick;
use crate::kernels::mask_scores::MaskScores;
use crate::kernels::mask_select::{MaskSelect, Scope};
use crate::kernels::mask_threshold::{MaskThreshold, first_index_level};
use crate::kernels::{FloatType, MaskShape};
use crate::num::mask::{Amount, Contest, Mask, MaskError, Pattern, Units, global_keep};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::matmul::float;
use super::{OpError, check_shape, check_type, extent, unary};

/// Scores that one workgroup compares by itself; more are counted by many, level by level.
const ONE_WORKGROUP: u32 = 1 << 16;

/// A mask of a matrix `[n, k]` with a bit for each element, in the layout of [`Mask`].
#[derive(Debug, Clone)]
pub struct MaskTensor {
    words: Tensor,
    n: u32,
    k: u32,
}

impl MaskTensor {
    /// Uploads a mask.
    ///
    /// # Errors
    /// [`OpError::TooLarge`] for extents past 32 bits.
    pub fn upload(recording: &mut Recording, mask: &Mask) -> Result<Self, OpError> {
        let own = Self::new(
            recording,
            extent("mask", "n", mask.n())?,
            extent("mask", "k", mask.k())?,
        );
        recording.upload_words(own.words.buffer(), mask.words())?;
        Ok(own)
    }

    fn new(recording: &mut Recording, n: u32, k: u32) -> Self {
        let words = recording.tensor(DType::U32, &[n as usize, k.div_ceil(32) as usize]);
        Self { words, n, k }
    }

    /// The words, u32 `[n, ceil(k / 32)]`.
    pub const fn words(&self) -> &Tensor {
        &self.words
    }

    /// Rows and columns of the matrix.
    pub const fn shape(&self) -> [usize; 2] {
        [self.n as usize, self.k as usize]
    }

    /// The mask, from the words as they were downloaded.
    ///
    /// # Errors
    /// [`MaskError`] when they are not those of a mask of this shape.
    pub fn to_mask(&self, words: &HostTensor) -> Result<Mask, MaskError> {
        let [n, k] = self.shape();
        Mask::from_words("mask", n, k, words.words())
    }
}

/// The scores of magnitude pruning, `|w|` as f32, of weights in f32, f16 or bf16.
///
/// # Errors
/// [`OpError`] for tensors that are not float or have no elements; nothing is recorded then.
pub fn magnitude(recording: &mut Recording, w: &Tensor) -> Result<Tensor, OpError> {
    unary(recording, w, Unary::Abs, FloatType::F32)
}

/// The mask that a pattern makes of `scores`, f32 `[n, k]`: larger means keep, of equal scores the lowest
/// index is kept, NaN is dropped first.
///
/// # Errors
/// [`OpError`] for scores that are not an f32 matrix, and patterns that do not fit it; nothing is recorded
/// then.
pub fn select(
    recording: &mut Recording,
    scores: &Tensor,
    pattern: &Pattern,
) -> Result<MaskTensor, OpError> {
    const OP: &str = "mask select";
    let [n, k] = matrix(OP, "scores", scores)?;
    let contest = pattern.contest("scores", n, k)?;
    let units = pattern.units(n, k);
    let sums = unit_scores(recording, scores, [n, k], &pattern.passes(n, k))?;
    let shape = mask_shape(OP, [n, k], units)?;
    let [rows, columns] = shape.units();
    let mask = MaskTensor::new(recording, shape.n, shape.k);
    match contest {
        Contest::All(keep) => {
            let cut = cut_of_all(recording, &[&sums], extent(OP, "kept", keep)?)?;
            let scope = Scope::All { first_index: 0 };
            reach(recording, &sums, &cut, MaskSelect { shape, scope }, &mask)?;
        }
        Contest::Row(keep) => {
            let keep = extent(OP, "kept", keep)?;
            let cuts = cut_of_each(recording, &sums, [rows, columns], keep)?;
            let scope = Scope::Row;
            reach(recording, &sums, &cuts, MaskSelect { shape, scope }, &mask)?;
        }
        Contest::Group { keep, group } => {
            let launch = MaskNm {
                n: shape.n,
                k: shape.k,
                vector: shape.unit_rows,
                keep: extent(OP, "kept", keep)?,
                group: extent(OP, "group", group)?,
            }
            .launch()?;
            recording.dispatch(launch, &[(1, sums.buffer()), (8, mask.words.buffer())])?;
        }
    }
    Ok(mask)
}

/// Masks of several matrices whose units (single elements, or blocks) are compared with each other; the
/// amount is of all units. Of equal scores the one in the earlier matrix is kept.
///
/// # Errors
/// [`OpError`] for scores that are not f32 matrices, no scores at all, and blocks or amounts out of range;
/// nothing is recorded then.
pub fn select_global(
    recording: &mut Recording,
    scores: &[&Tensor],
    units: Units,
    amount: Amount,
) -> Result<Vec<MaskTensor>, OpError> {
    const OP: &str = "mask select_global";
    let of = |one: &&Tensor| matrix(OP, "scores", one);
    let extents: Vec<[usize; 2]> = scores.iter().map(of).collect::<Result<_, _>>()?;
    let keep = extent(OP, "kept", global_keep(&extents, units, amount)?)?;
    let shapes: Vec<MaskShape> = extents
        .iter()
        .map(|&one| mask_shape(OP, one, units))
        .collect::<Result<_, _>>()?;
    // Blocks are summed in one pass, whatever the shape.
    let passes = Pattern::Blocks(units, amount).passes(1, 1);
    let mut sums = Vec::new();
    for (one, &extents) in scores.iter().zip(&extents) {
        sums.push(unit_scores(recording, one, extents, &passes)?);
    }
    let cut = cut_of_all(recording, &sums.iter().collect::<Vec<_>>(), keep)?;
    let mut masks = Vec::new();
    let mut first_index = 0;
    for (sums, shape) in sums.iter().zip(shapes) {
        let mask = MaskTensor::new(recording, shape.n, shape.k);
        let scope = Scope::All { first_index };
        reach(recording, sums, &cut, MaskSelect { shape, scope }, &mask)?;
        masks.push(mask);
        // All units together were checked to fit 32 bits.
        first_index += sums.len() as u32;
    }
    Ok(masks)
}

/// The weights `[n, k]` with +0 wherever the mask keeps nothing; what is kept keeps its bits.
///
/// # Errors
/// [`OpError`] for weights that are not float or not of the mask's shape; nothing is recorded then.
pub fn apply(recording: &mut Recording, w: &Tensor, mask: &MaskTensor) -> Result<Tensor, OpError> {
    const OP: &str = "mask apply";
    check_shape(OP, "w", w, &mask.shape())?;
    let launch = MaskApply {
        shape: mask_shape(OP, mask.shape(), Units::ELEMENTS)?,
        x: float(OP, "w", w)?,
    }
    .launch()?;
    let out = recording.tensor(w.dtype(), w.shape());
    let buffers = [(1, w.buffer()), (2, mask.words.buffer()), (8, out.buffer())];
    recording.dispatch(launch, &buffers)?;
    Ok(out)
}

/// Extents of an f32 matrix.
fn matrix(op: &'static str, what: &'static str, tensor: &Tensor) -> Result<[usize; 2], OpError> {
    check_type(op, what, tensor, DType::F32)?;
    match *tensor.shape() {
        [n, k] => Ok([n, k]),
        _ => Err(OpError::Shape {
            op,
            what,
            got: tensor.shape().to_vec(),
            expected: "[n, k]".to_owned(),
        }),
    }
}

fn mask_shape(op: &'static str, [n, k]: [usize; 2], units: Units) -> Result<MaskShape, OpError> {
    Ok(MaskShape {
        n: extent(op, "n", n)?,
        k: extent(op, "k", k)?,
        unit_rows: extent(op, "rows of a unit", units.rows)?,
        unit_columns: extent(op, "columns of a unit", units.columns)?,
    })
}

/// Scores of units after the sums of `passes`.
fn unit_scores(
    recording: &mut Recording,
    scores: &Tensor,
    mut extents: [usize; 2],
    passes: &[Units],
) -> Result<Tensor, OpError> {
    let mut sums = scores.clone();
    for &pass in passes {
        let launch = MaskScores(mask_shape("mask scores", extents, pass)?).launch()?;
        extents = pass.count(extents[0], extents[1]);
        let out = recording.tensor(DType::F32, &extents);
        recording.dispatch(launch, &[(1, sums.buffer()), (8, out.buffer())])?;
        sums = out;
    }
    Ok(sums)
}

/// The cut-off that keeps `keep` of all scores of all tensors, as the first words of a tensor.
fn cut_of_all(recording: &mut Recording, scores: &[&Tensor], keep: u32) -> Result<Tensor, OpError> {
    const OP: &str = "mask select";
    let count = extent(OP, "scores", scores.iter().map(|one| one.len()).sum())?;
    if let ([only], true) = (scores, count <= ONE_WORKGROUP) {
        return cut_of_each(recording, only, [1, count], keep);
    }
    let state = recording.tensor(DType::U32, &[STATE_WORDS as usize]);
    let clear = Fill {
        count: STATE_WORDS,
        value: 0,
    };
    recording.dispatch(clear.launch()?, &[(8, state.buffer())])?;
    let of_key = 0..LEVELS / 2;
    for level in of_key.chain(first_index_level(count)..LEVELS) {
        let mut first_index = 0;
        for one in scores {
            let count = extent(OP, "scores", one.len())?;
            let launch = MaskCount {
                count,
                first_index,
                level,
            }
            .launch()?;
            recording.dispatch(launch, &[(1, one.buffer()), (8, state.buffer())])?;
            first_index += count;
        }
        recording.dispatch(MaskPick { keep, level }.launch()?, &[(8, state.buffer())])?;
    }
    Ok(state)
}

/// The cut-offs that keep `keep` of each segment.
fn cut_of_each(
    recording: &mut Recording,
    scores: &Tensor,
    [segments, length]: [u32; 2],
    keep: u32,
) -> Result<Tensor, OpError> {
    let launch = MaskThreshold {
        segments,
        length,
        keep,
    }
    .launch()?;
    let cuts = recording.tensor(DType::U32, &[segments as usize, 2]);
    recording.dispatch(launch, &[(1, scores.buffer()), (8, cuts.buffer())])?;
    Ok(cuts)
}

/// The mask of what reaches its cut-off.
fn reach(
    recording: &mut Recording,
    scores: &Tensor,
    cuts: &Tensor,
    select: MaskSelect,
    mask: &MaskTensor,
) -> Result<(), OpError> {
    let buffers = [
        (1, scores.buffer()),
        (2, cuts.buffer()),
        (8, mask.words.buffer()),
    ];
    Ok(recording.dispatch(select.launch()?, &buffers)?)
}
