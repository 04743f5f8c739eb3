//! Loss scaling and clipping: from all gradients of a step to the `control` of its optimizer.

use crate::kernels::grad_stats::{CHUNK_WORDS, GradStats, chunks_of};
use crate::kernels::loss_scale::{DynamicScale, LossScale, NotFinite, SCALE_WORDS};
use crate::kernels::optimizer::CONTROL_WORDS;
use crate::ops::matmul::float;
use crate::ops::{OpError, check_shape, check_type, extent};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

/// The scale that dynamic loss scaling begins with, as `torch.amp.GradScaler`.
pub const FIRST_SCALE: f32 = 65536.0;

/// The loss scale and what is known of the last step, on the device.
#[derive(Debug, Clone)]
pub struct ScaleState {
    words: Tensor,
}

/// A [`ScaleState`] as it was read back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScaleReport {
    /// The scale of the next loss.
    pub scale: f32,
    /// Good steps since it last changed.
    pub good: u32,
    /// Steps skipped in all.
    pub skipped: u32,
    /// Steps taken in all.
    pub taken: u32,
    /// Norm of all unscaled gradients of the last step together, without what is not finite.
    pub norm: f32,
    /// Largest magnitude of an element of them.
    pub largest: f32,
    /// Elements that were infinite or NaN.
    pub not_finite: u32,
    /// The factor of norm clipping.
    pub clip: f32,
}

impl ScaleState {
    /// Uploads a state that begins with `scale`: [`FIRST_SCALE`] for a dynamic one, 1 for none.
    ///
    /// # Errors
    /// [`OpError::Record`], which a tensor of this size does not meet.
    pub fn upload(recording: &mut Recording, scale: f32) -> Result<Self, OpError> {
        let words = recording.tensor(DType::U32, &[SCALE_WORDS as usize]);
        let mut content = vec![0; SCALE_WORDS as usize];
        content[0] = scale.to_bits();
        recording.upload_words(words.buffer(), content)?;
        Ok(Self { words })
    }

    /// The words, u32 `[8]`: to download for a report, and to keep in a checkpoint.
    pub const fn words(&self) -> &Tensor {
        &self.words
    }

    /// A state whose words are already on the device.
    ///
    /// # Errors
    /// [`OpError`] for words of another type or number.
    pub fn of_words(words: &Tensor) -> Result<Self, OpError> {
        check_type("loss scale", "state", words, DType::U32)?;
        check_shape("loss scale", "state", words, &[SCALE_WORDS as usize])?;
        let words = words.clone();
        Ok(Self { words })
    }

    /// The scale, f32 `[1]`: what the gradient of the loss begins with.
    pub fn scale(&self) -> Tensor {
        Tensor::of_buffer(self.words.buffer().clone(), DType::F32, &[1])
    }

    /// The state as it was downloaded; `None` for words that are not those of a state.
    pub fn report(words: &HostTensor) -> Option<ScaleReport> {
        let words: [u32; SCALE_WORDS as usize] = words.words().try_into().ok()?;
        let [scale, good, skipped, taken, norm, largest, not_finite, clip] = words;
        Some(ScaleReport {
            scale: f32::from_bits(scale),
            good,
            skipped,
            taken,
            norm: f32::from_bits(norm),
            largest: f32::from_bits(largest),
            not_finite,
            clip: f32::from_bits(clip),
        })
    }
}

/// What [`control`] does with gradients; by default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GradientOptions {
    /// How the loss scale changes; `None` when it stays what it is.
    pub scaling: Option<DynamicScale>,
    /// What becomes of gradients that are not finite under a fixed scale.
    pub not_finite: NotFinite,
    /// Largest norm of all gradients together, as `clip_grad_norm_`.
    pub max_norm: Option<f32>,
    /// Largest magnitude of an element, as `clip_grad_value_`, after the norm was clipped.
    pub max_value: Option<f32>,
    /// Further micro-batches whose gradients were added to these; all are divided by their number.
    pub accumulated_more: u32,
}

/// Looks at all gradients of a step and decides what [`step`](super::step) does with them: undoes the loss scale,
/// clips, skips. The result is u32 `[4]`; the state changes.
///
/// # Errors
/// [`OpError`] for no gradients, gradients that are not float or have no elements, and options out of
/// range; nothing is recorded then.
pub fn control(
    recording: &mut Recording,
    gradients: &[&Tensor],
    state: &ScaleState,
    options: &GradientOptions,
) -> Result<Tensor, OpError> {
    const OP: &str = "loss scale";
    let mut counts = Vec::new();
    let mut chunks = 0u64;
    for gradient in gradients {
        let x = float(OP, "gradient", gradient)?;
        let count = extent(OP, "elements", gradient.len())?;
        chunks += u64::from(chunks_of(count));
        counts.push((count, x));
    }
    let chunks = extent(OP, "chunks", usize::try_from(chunks).unwrap_or(usize::MAX))?;
    let scale = LossScale {
        chunks,
        scaling: options.scaling,
        not_finite: options.not_finite,
        max_norm: options.max_norm,
        max_value: options.max_value,
        accumulated: options.accumulated_more.saturating_add(1),
    }
    .launch()?;
    let mut first = 0;
    let mut measured = Vec::new();
    for (count, x) in counts {
        let launch = GradStats {
            count,
            x,
            first,
            chunks,
        };
        measured.push(launch.launch()?);
        first += chunks_of(count);
    }
    // Every replay writes all of it again, so that it is filled only once.
    let statistics = recording.tensor(DType::U32, &[chunks as usize, CHUNK_WORDS as usize]);
    recording.upload_words(statistics.buffer(), vec![0; statistics.len()])?;
    for (launch, gradient) in measured.into_iter().zip(gradients) {
        let buffers = [(1, gradient.buffer()), (8, statistics.buffer())];
        recording.dispatch(launch, &buffers)?;
    }
    let control = recording.tensor(DType::U32, &[CONTROL_WORDS as usize]);
    let buffers = [
        (1, statistics.buffer()),
        (2, state.words.buffer()),
        (8, control.buffer()),
    ];
    recording.dispatch(scale, &buffers)?;
    Ok(control)
}

/// A `control` that takes every gradient as it is.
///
/// # Errors
/// [`OpError::Record`], which a tensor of this size does not meet.
pub fn plain_control(recording: &mut Recording) -> Result<Tensor, OpError> {
    let control = recording.tensor(DType::U32, &[CONTROL_WORDS as usize]);
    let words = vec![1.0f32.to_bits(), f32::MAX.to_bits(), 0, 0];
    recording.upload_words(control.buffer(), words)?;
    Ok(control)
}
