//! Normalizations and their gradients.

use std::sync::Arc;

use crate::kernels::FloatType;
use crate::kernels::channel_sums::Term;
use crate::kernels::norm::{Center, Norm, NormShape, Scope};
use crate::kernels::norm_backward::NormBackward;
use crate::kernels::norm_running::{Direction, NormRunning};
use crate::record::{Launch, Recording, Tensor};
use crate::tensor::DType;

use super::super::element::rows_and_columns;
use super::super::matmul::float;
use super::super::{OpError, check_shape, check_type, extent};
use super::sums::{Factor, items_and_channels, sums};

/// What is normalized together, and around what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// The last dimension of x, around its mean (Ba et al. 2016).
    Layer,
    /// The last dimension of x, around zero (Zhang and Sennrich 2019).
    Rms,
    /// Groups of neighbouring channels of x `[items, channels, ..]` (Wu and He 2018).
    Group(u32),
    /// Each channel of x `[items, channels, ..]` over all items (Ioffe and Szegedy 2015).
    Batch,
}

impl NormKind {
    const fn center(self) -> Center {
        match self {
            Self::Rms => Center::Zero,
            Self::Layer | Self::Group(_) | Self::Batch => Center::Mean,
        }
    }

    /// Items, channels and inner extent of x as this kind sees it.
    fn extents(self, op: &'static str, x: &Tensor) -> Result<[usize; 3], OpError> {
        match self {
            Self::Layer | Self::Rms => {
                let [rows, columns] = rows_and_columns(op, x)?;
                Ok([rows, columns, 1])
            }
            Self::Group(_) | Self::Batch => items_and_channels(op, x),
        }
    }

    fn shape(self, op: &'static str, x: &Tensor) -> Result<NormShape, OpError> {
        let [items, channels, inner] = self.extents(op, x)?;
        Ok(NormShape {
            items: extent(op, "items", items)?,
            channels: extent(op, "channels", channels)?,
            inner: extent(op, "inner", inner)?,
            scope: match self {
                Self::Layer | Self::Rms => Scope::Groups(1),
                Self::Group(groups) => Scope::Groups(groups),
                Self::Batch => Scope::Channel,
            },
        })
    }
}

/// Running statistics of batch normalization, which a launch moves towards those of its batch.
#[derive(Debug, Clone, Copy)]
pub struct Running<'a> {
    /// f32 `[channels, 2]`: mean and unbiased variance; begins at 0 and 1.
    pub statistics: &'a Tensor,
    /// Share of this batch; PyTorch's is 0.1.
    pub momentum: f32,
}

/// How x is normalized.
#[derive(Debug, Clone, Copy)]
pub struct NormOptions<'a> {
    /// What is normalized together, and around what.
    pub kind: NormKind,
    /// Factors, f32 `[channels]`.
    pub gamma: &'a Tensor,
    /// Addends, f32 `[channels]`; RMS normalization has none.
    pub beta: Option<&'a Tensor>,
    /// Added to the variance; PyTorch's is 1e-5.
    pub epsilon: f32,
    /// Running statistics, for batch normalization.
    pub running: Option<Running<'a>>,
    /// Storage of the result.
    pub out: FloatType,
}

/// A normalized tensor and what its gradient needs.
#[derive(Debug, Clone)]
pub struct Normalized {
    /// Shaped as x.
    pub y: Tensor,
    /// Mean and 1 / deviation of what was normalized together, f32 `[rows, 2]`.
    pub statistics: Tensor,
}

/// Normalizes x; the running statistics change in place.
///
/// # Errors
/// [`OpError`] for tensors whose shapes or types do not go together, an addend where there is none or none
/// where there is one, settings out of range, and 16-bit results of odd rows; nothing is recorded then.
pub fn norm(
    recording: &mut Recording,
    x: &Tensor,
    options: &NormOptions<'_>,
) -> Result<Normalized, OpError> {
    const OP: &str = "norm";
    let kind = options.kind;
    let shape = kind.shape(OP, x)?;
    let channels = shape.channels as usize;
    check_vector(OP, "gamma", options.gamma, channels)?;
    match (kind.center(), options.beta) {
        (Center::Mean, Some(beta)) => check_vector(OP, "beta", beta, channels)?,
        (Center::Zero, None) => {}
        (center, beta) => {
            let got = beta.map_or_else(Vec::new, |beta| beta.shape().to_vec());
            let expected = match center {
                Center::Mean => format!("[{channels}]"),
                Center::Zero => "none for RMS normalization".to_owned(),
            };
            return Err(OpError::Shape {
                op: OP,
                what: "beta",
                got,
                expected,
            });
        }
    }
    if let Some(running) = options.running {
        check_shape(OP, "running statistics", running.statistics, &[channels, 2])?;
        check_type(OP, "running statistics", running.statistics, DType::F32)?;
    }
    let launch = Norm {
        shape,
        center: kind.center(),
        epsilon: options.epsilon,
        momentum: options.running.map(|running| running.momentum),
        x: float(OP, "x", x)?,
        out: options.out,
    }
    .launch()?;
    let statistics = recording.tensor(DType::F32, &[shape.row_count(), 2]);
    let y = recording.tensor(options.out.dtype(), x.shape());
    let mut buffers = vec![
        (1, x.buffer()),
        (2, options.gamma.buffer()),
        (7, statistics.buffer()),
        (8, y.buffer()),
    ];
    buffers.extend(options.beta.map(|beta| (3, beta.buffer())));
    let running = options.running;
    buffers.extend(running.map(|running| (6, running.statistics.buffer())));
    recording.dispatch(launch, &buffers)?;
    Ok(Normalized { y, statistics })
}

/// The gradient of x, from x, the statistics that [`norm`] kept and the gradient `dy` of what it gave; the
/// result has the type `out`.
///
/// # Errors
/// As [`norm`]; nothing is recorded then.
pub fn norm_backward(
    recording: &mut Recording,
    (x, statistics, dy): (&Tensor, &Tensor, &Tensor),
    kind: NormKind,
    gamma: &Tensor,
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "norm_backward";
    let shape = checked(OP, (x, statistics, dy), kind)?;
    check_vector(OP, "gamma", gamma, shape.channels as usize)?;
    let launch = NormBackward {
        shape,
        center: kind.center(),
        x: float(OP, "x", x)?,
        dy: float(OP, "dy", dy)?,
        out,
    }
    .launch()?;
    let dx = recording.tensor(out.dtype(), x.shape());
    let buffers = [
        (1, x.buffer()),
        (2, dy.buffer()),
        (3, gamma.buffer()),
        (7, statistics.buffer()),
        (8, dx.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(dx)
}

/// Gradients of gamma and beta, f32 `[channels]`, from the same operands as [`norm_backward`]. RMS
/// normalization has no beta.
///
/// # Errors
/// As [`norm`]; nothing is recorded when a shape or type is refused.
pub fn norm_parameters_backward(
    recording: &mut Recording,
    (x, statistics, dy): (&Tensor, &Tensor, &Tensor),
    kind: NormKind,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    const OP: &str = "norm_parameters_backward";
    checked(OP, (x, statistics, dy), kind)?;
    let extents = kind.extents(OP, x)?;
    let y = float(OP, "x", x)?;
    let term = match kind {
        NormKind::Layer | NormKind::Rms => Term::Grouped { groups: 1, y },
        NormKind::Group(groups) => Term::Grouped { groups, y },
        NormKind::Batch => Term::PerChannel { y },
    };
    let factor = Factor {
        term,
        buffers: vec![(2, x.buffer()), (7, statistics.buffer())],
    };
    let gamma = sums(recording, OP, dy, extents, &factor)?;
    let beta = match kind.center() {
        Center::Mean => Some(sums(recording, OP, dy, extents, &Factor::NONE)?),
        Center::Zero => None,
    };
    Ok((gamma, beta))
}

/// Batch normalization of x `[items, channels, ..]` by running statistics, f32 `[channels, 2]`, as a trained
/// net applies it; the result has the type `out`.
///
/// # Errors
/// As [`norm`]; nothing is recorded then.
pub fn norm_by_running(
    recording: &mut Recording,
    x: &Tensor,
    running: &Tensor,
    (gamma, beta, epsilon): (&Tensor, &Tensor, f32),
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "norm_by_running";
    let launch = by_running(OP, (x, running), gamma, Direction::Forward, epsilon, out)?;
    check_vector(OP, "beta", beta, gamma.len())?;
    let y = recording.tensor(out.dtype(), x.shape());
    let buffers = [
        (1, x.buffer()),
        (2, gamma.buffer()),
        (3, beta.buffer()),
        (6, running.buffer()),
        (8, y.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(y)
}

/// The gradient of x through [`norm_by_running`], from the gradient `dy` of what it gave, for a layer whose
/// statistics are frozen; the result has the type `out`.
///
/// # Errors
/// As [`norm`]; nothing is recorded then.
pub fn norm_by_running_backward(
    recording: &mut Recording,
    dy: &Tensor,
    running: &Tensor,
    (gamma, epsilon): (&Tensor, f32),
    out: FloatType,
) -> Result<Tensor, OpError> {
    const OP: &str = "norm_by_running_backward";
    let launch = by_running(OP, (dy, running), gamma, Direction::Backward, epsilon, out)?;
    let dx = recording.tensor(out.dtype(), dy.shape());
    let buffers = [
        (1, dy.buffer()),
        (2, gamma.buffer()),
        (6, running.buffer()),
        (8, dx.buffer()),
    ];
    recording.dispatch(launch, &buffers)?;
    Ok(dx)
}

fn by_running(
    op: &'static str,
    (x, running): (&Tensor, &Tensor),
    gamma: &Tensor,
    direction: Direction,
    epsilon: f32,
    out: FloatType,
) -> Result<Arc<dyn Launch>, OpError> {
    let [items, channels, inner] = items_and_channels(op, x)?;
    check_vector(op, "gamma", gamma, channels)?;
    check_shape(op, "running statistics", running, &[channels, 2])?;
    check_type(op, "running statistics", running, DType::F32)?;
    let shape = NormRunning {
        items: extent(op, "items", items)?,
        channels: extent(op, "channels", channels)?,
        inner: extent(op, "inner", inner)?,
        direction,
        epsilon,
        x: float(op, "x", x)?,
        out,
    };
    Ok(shape.launch()?)
}

/// Checks x, its statistics and the gradient that arrives.
fn checked(
    op: &'static str,
    (x, statistics, dy): (&Tensor, &Tensor, &Tensor),
    kind: NormKind,
) -> Result<NormShape, OpError> {
    let shape = kind.shape(op, x)?;
    check_shape(op, "dy", dy, x.shape())?;
    check_shape(op, "statistics", statistics, &[shape.row_count(), 2])?;
    check_type(op, "statistics", statistics, DType::F32)?;
    Ok(shape)
}

fn check_vector(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor,
    channels: usize,
) -> Result<(), OpError> {
    check_shape(op, what, tensor, &[channels])?;
    check_type(op, what, tensor, DType::F32)
}
