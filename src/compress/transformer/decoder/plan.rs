//! What becomes of each weight of a decoder, and how much memory that takes, before anything is read.

use serde::{Deserialize, Serialize};

use crate::compress::model::Activations;
use crate::compress::prune::Sparsity;
use crate::compress::quantize::{
    Action, Gptq, Layer as PlannedLayer, Linear, Misfit, Planned, matches_pattern, plan,
};
use crate::compress::stage::StageError;
use crate::compress::stage::prune::PruneMisfit;
use crate::compress::stage::quantize::Method as Coding;
use crate::io::hf::DecoderConfig;
use crate::num::Granularity;

use super::DecoderLinear;
use super::hidden::Site;
use super::widths::measure::PIECE;
use super::widths::{WIDTHS, Widths, mixed_codes};

/// How weights are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pruning {
    /// The smallest of each matrix.
    Magnitude,
    /// Those of each row that move the output least.
    Wanda,
    /// The same, and the others make up for them.
    SparseGpt,
}

/// What is done to a decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Weights become codes.
    Quantize {
        /// What codes.
        linear: Linear,
        /// How they are found.
        coding: Coding,
        /// With GPTQ: its order and damping.
        gptq: Gptq,
        /// How activations should meet them, for tools that read the file.
        activations: Activations,
        /// What becomes of a weight that the codes do not fit.
        misfit: Misfit,
    },
    /// Weights become zeros.
    Prune {
        /// How many, and where.
        sparsity: Sparsity,
        /// Which.
        pruning: Pruning,
        /// What becomes of a weight that N:M does not fit.
        misfit: PruneMisfit,
    },
}

impl Change {
    /// The name of its method.
    #[must_use]
    pub const fn method(&self) -> &'static str {
        match self {
            Self::Quantize { coding, .. } => coding.name(),
            Self::Prune { pruning, .. } => match pruning {
                Pruning::Magnitude => "magnitude",
                Pruning::Wanda => "wanda",
                Pruning::SparseGpt => "sparsegpt",
            },
        }
    }

    /// Whether it looks at calibration texts.
    #[must_use]
    pub const fn needs_texts(&self) -> bool {
        match self {
            Self::Quantize { coding, .. } => !matches!(coding, Coding::Nearest | Coding::Hqq),
            Self::Prune { pruning, .. } => !matches!(pruning, Pruning::Magnitude),
        }
    }
}

/// What becomes of one weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::compress::transformer) enum Fate {
    Keep,
    Codes(Linear),
    Zeros(Sparsity),
}

/// A weight's part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlannedLinear {
    pub which: DecoderLinear,
    pub fate: Fate,
    pub reason: String,
}

/// All that says what becomes of a weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct How<'a> {
    pub change: &'a Change,
    /// Patterns of weights that stay as they are.
    pub keep: &'a [String],
    /// Widths that take the place of that of the change.
    pub widths: Option<&'a Widths>,
}

/// Plans the weights of one layer.
pub(super) fn plan_layer(
    config: &DecoderConfig,
    layer: usize,
    how: How<'_>,
) -> Result<Vec<PlannedLinear>, StageError> {
    let How { change, keep, .. } = how;
    let patterns: Vec<&str> = keep.iter().map(String::as_str).collect();
    let mut all = Vec::new();
    for which in DecoderLinear::ALL {
        let ([n, k], name) = (which.shape(config), which.tensor(layer).hf_name());
        let (fate, reason) = match change {
            Change::Quantize { linear, misfit, .. } => {
                let one = PlannedLayer { name: &name, n, k };
                let chosen = how.widths.and_then(|widths| widths.of(layer, which));
                let linear = chosen.map_or(*linear, |chosen| mixed_codes(chosen.width));
                let planned = plan(&[one], &linear, &patterns, *misfit)?;
                match planned.into_iter().next() {
                    Some(Planned { action, reason, .. }) => match action {
                        Action::Quantize(own) if own == linear && chosen.is_some() => {
                            let nats = chosen.map_or(0.0, |chosen| chosen.nats);
                            let reason = format!(
                                "{own} as chosen: to nearest, those of its inputs alone cost {nats:.1e} nats a token"
                            );
                            (Fate::Codes(own), reason)
                        }
                        // Levels are planned for schemes of levels only.
                        Action::Keep | Action::Levels(..) => (Fate::Keep, reason),
                        Action::Quantize(linear) => (Fate::Codes(linear), reason),
                    },
                    None => (Fate::Keep, "kept: nothing is planned for it".to_owned()),
                }
            }
            Change::Prune {
                sparsity, misfit, ..
            } => zeros((&name, k), *sparsity, &patterns, *misfit)?,
        };
        all.push(PlannedLinear {
            which,
            fate,
            reason,
        });
    }
    Ok(all)
}

pub(in crate::compress::transformer) fn zeros(
    (name, k): (&str, usize),
    sparsity: Sparsity,
    keep: &[&str],
    misfit: PruneMisfit,
) -> Result<(Fate, String), StageError> {
    if let Some(pattern) = keep.iter().find(|pattern| matches_pattern(pattern, name)) {
        return Ok((Fate::Keep, format!("kept: its name matches `{pattern}`")));
    }
    let Sparsity::NOfM { group, .. } = sparsity else {
        return Ok((Fate::Zeros(sparsity), "as asked".to_owned()));
    };
    if k.is_multiple_of(group.max(1)) {
        return Ok((Fate::Zeros(sparsity), "as asked".to_owned()));
    }
    match misfit {
        PruneMisfit::Keep => Ok((
            Fate::Keep,
            format!("kept: {k} inputs are no multiple of {group}"),
        )),
        PruneMisfit::Error => Err(StageError::Setting {
            what: format!("{name}: inputs"),
            given: k.to_string(),
            allowed: format!("multiples of {group}, or --misfit keep"),
        }),
    }
}

/// Refuses patterns that fit no weight, and methods that do not go with the scheme or lack texts.
pub(super) fn check(
    config: &DecoderConfig,
    (change, keep): (&Change, &[String]),
    n_texts: usize,
) -> Result<(), StageError> {
    for pattern in keep {
        let names = |layer: usize| DecoderLinear::ALL.map(|which| which.tensor(layer).hf_name());
        let mut all = (0..config.n_layers).flat_map(names);
        if !all.any(|name| matches_pattern(pattern, &name)) {
            return Err(StageError::Setting {
                what: "pattern of weights to keep".to_owned(),
                given: pattern.clone(),
                allowed: format!("patterns that fit one of {}", names(0).join(", ")),
            });
        }
    }
    if let Change::Quantize {
        activations: Activations::Int8Static(_),
        ..
    } = change
    {
        return Err(StageError::Setting {
            what: "activations of a language model".to_owned(),
            given: "static".to_owned(),
            allowed: "float, int8, int8-g32, int8-g64: each layer would need a scale of its own"
                .to_owned(),
        });
    }
    if change.needs_texts() && n_texts == 0 {
        let without = match change {
            Change::Quantize { .. } => "nearest, hqq",
            Change::Prune { .. } => "magnitude",
        };
        return Err(StageError::Setting {
            what: "method without --calibration TEXT".to_owned(),
            given: change.method().to_owned(),
            allowed: without.to_owned(),
        });
    }
    if let Change::Quantize { linear, coding, .. } = change
        && linear.granularity == Granularity::Tensor
        && !matches!(coding, Coding::Nearest | Coding::Gptq)
    {
        return Err(StageError::Setting {
            what: format!("method with {linear}"),
            given: coding.name().to_owned(),
            allowed: "nearest, gptq; the others need channels or groups".to_owned(),
        });
    }
    Ok(())
}

/// Bytes of host memory, at most, by what they are for, besides the program and the driver. Files are mapped and not
/// counted; the device is, because without an adapter of its own its memory is the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MemoryPlan {
    /// Hidden states of all texts, before a layer and behind it.
    pub hidden: u64,
    /// The weights of one layer as f32, here and on the device, and what becomes of them.
    pub weights: u64,
    /// Sums over what its weights read, on both too.
    pub statistics: u64,
    /// Intermediate results of one text.
    pub pass: u64,
    /// Work of the method on the largest weight.
    pub solver: u64,
    /// Embedding and head while they are copied.
    pub ends: u64,
    /// Where widths are chosen: all that is in memory while what they cost is measured.
    pub measuring: u64,
}

impl MemoryPlan {
    /// For texts of so many tokens.
    pub(super) fn of(config: &DecoderConfig, texts: &[usize], measured: Option<&[usize]>) -> Self {
        // Past what can be numbered is past what is allowed, and what there is.
        let bytes = |elements: u64, each: u64| elements.saturating_mul(each);
        let sum = |a: u64, b: u64| a.saturating_add(b);
        let shapes = DecoderLinear::ALL.map(|which| which.shape(config).map(|of| of as u64));
        let elements = shapes.iter().map(|[n, k]| bytes(*n, *k)).fold(0, sum);
        let widths = Site::ALL.map(|site| site.width(config) as u64);
        let tokens: u64 = texts.iter().map(|&tokens| tokens as u64).sum();
        let longest = texts.iter().copied().max().unwrap_or(0) as u64;
        let is_calibrated = tokens > 0;
        let squares = widths.iter().map(|&k| bytes(k, k)).fold(0, sum);
        let heads = bytes(config.n_heads as u64, config.head_dim as u64);
        let row = [bytes(heads, 2), bytes(config.ffn_width as u64, 4)];
        let row = widths.into_iter().chain(row).fold(0, sum);
        let [n, k] = shapes.iter().fold([0, 0], |most: [u64; 2], [n, k]| {
            let work = |[n, k]: [u64; 2]| sum(bytes(n, k), bytes(k, k));
            if work([*n, *k]) > work(most) {
                [*n, *k]
            } else {
                most
            }
        });
        let table = bytes(config.vocabulary as u64, config.width as u64);
        // Rows, their transposes, and copies that come back.
        let pass = |longest: u64| {
            sum(
                bytes(bytes(longest, row), 3 * 4),
                bytes(bytes(longest, longest), 4),
            )
        };
        let weights = bytes(elements, 4 * 4);
        let measuring = measured.map_or(0, |texts| {
            let tokens: u64 = texts.iter().map(|&tokens| tokens as u64).sum();
            let longest = texts.iter().copied().max().unwrap_or(0) as u64;
            let states = bytes(tokens, config.width as u64);
            // Before the layer, behind the last, of each group at each width, and one on its way.
            let hidden = bytes(states, 4 * (3 + 4 * WIDTHS.len() as u64));
            // On the device, and twice on their way from it: of the model as it is, and of a changed one.
            let logits = bytes(bytes(PIECE as u64, config.vocabulary as u64), 2 * 3 * 4);
            let parts = [weights, pass(longest), logits, bytes(table, 2 * 4)];
            parts.into_iter().fold(hidden, sum)
        });
        Self {
            hidden: bytes(bytes(tokens, config.width as u64), 2 * 4),
            weights,
            // f64 here; f32 twice on the device and here while they are added.
            statistics: if is_calibrated {
                bytes(squares, 8 + 3 * 4)
            } else {
                0
            },
            pass: pass(longest),
            // f64: weights, changes and results; the Hessian, its factor and its inverse.
            solver: sum(
                bytes(bytes(n, k), 8 * 5),
                if is_calibrated {
                    bytes(bytes(k, k), 8 * 4)
                } else {
                    0
                },
            ),
            // f32: one that is done, one that is made, one that is read.
            ends: bytes(table, 4 * 3),
            measuring,
        }
    }

    /// The most at a time: the ends are copied before the first layer, and measured is before it too.
    #[must_use]
    pub fn total(&self) -> u64 {
        let parts = [self.weights, self.statistics, self.pass, self.solver];
        let layer = parts
            .iter()
            .fold(self.hidden, |sum, &part| sum.saturating_add(part));
        layer.max(self.ends).max(self.measuring)
    }
}
