//! What pruning is asked for: how weights are judged, how many go, when, and how what is left is stored.

use std::fmt;
use std::str::FromStr;

use crate::compress::CompressError;
use crate::compress::stage::StageError;
use crate::num::ValueFormat;
use crate::num::mask::Units;
use crate::num::optim::{Convention, Optimizer};

/// How weights are judged; see [`crate::compress::prune`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneMethod {
    /// By `abs(w)`.
    Magnitude,
    /// By chance: what any other method has to beat.
    Random,
    /// By `(w g)^2`, with the gradient of the mean loss over samples of the training set.
    Taylor,
    /// By `abs(w g)`.
    Snip,
    /// By `h w^2 / 2`. The diagonal of the Hessian is that of the empirical Fisher information, the mean over
    /// samples of the squared gradient of each sample's loss.
    Obd,
    /// By `abs(w)` times the norm of what the weight is multiplied with, compared within rows.
    Wanda,
    /// SparseGPT: dropped column by column, and the rest of the row makes up for it. Layers are pruned one after
    /// the other, each by the inputs that the layers pruned before it give.
    SparseGpt,
}

impl PruneMethod {
    /// All of them with their names.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("magnitude", Self::Magnitude),
        ("random", Self::Random),
        ("taylor", Self::Taylor),
        ("snip", Self::Snip),
        ("obd", Self::Obd),
        ("wanda", Self::Wanda),
        ("sparsegpt", Self::SparseGpt),
    ];
}

impl fmt::Display for PruneMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, method)| method == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for PruneMethod {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, method)| *method).ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            setting("pruning method", text, names.join(", "))
        })
    }
}

/// How much goes, and what goes together. Reads and displays as `80%`, `2:4`, `2:4x16` or `75% in blocks of 16x16`;
/// a share may be read as `0.8` too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PruneAmount {
    /// This share of the weights, in [0, 1): `round(share * count)` of them.
    Share(f64),
    /// All but `keep` of every `group` weights that an output reads one after the other. The weights of `vector`
    /// outputs in a column go together.
    NOfM {
        /// N.
        keep: usize,
        /// M.
        group: usize,
        /// 1, 8, 16 or 32.
        vector: usize,
    },
    /// This share of blocks.
    Blocks {
        /// Extents of a block.
        units: Units,
        /// In [0, 1).
        share: f64,
    },
}

impl PruneAmount {
    /// The share of weights that goes.
    #[must_use]
    pub fn share(&self) -> f64 {
        match *self {
            Self::Share(share) | Self::Blocks { share, .. } => share,
            Self::NOfM { keep, group, .. } => 1.0 - keep as f64 / group as f64,
        }
    }

    /// The same share in blocks.
    ///
    /// # Errors
    /// [`StageError::Setting`] for N of M.
    pub fn in_blocks(self, units: Units) -> Result<Self, StageError> {
        match self {
            Self::Share(share) | Self::Blocks { share, .. } => Ok(Self::Blocks { units, share }),
            Self::NOfM { .. } => Err(setting("sparsity of blocks", self, "a share as 75%")),
        }
    }

    pub(super) fn check(&self) -> Result<(), StageError> {
        match *self {
            Self::Share(share) | Self::Blocks { share, .. } if !(0.0..1.0).contains(&share) => {
                Err(setting("sparsity", share, "0 or more and less than 1"))
            }
            Self::NOfM { keep, group, .. } if keep == 0 || keep > group => Err(setting(
                "sparsity",
                self,
                "N:M with N at least 1 and at most M",
            )),
            Self::Blocks { units, .. } => Ok(units.check_block("blocks")?),
            Self::Share(_) | Self::NOfM { .. } => Ok(()),
        }
    }
}

impl fmt::Display for PruneAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Shares are decimals of people: 0.29 is not 28.999999999999996%.
        let percent = |share: f64| (share * 1e12).round() / 1e10;
        match *self {
            Self::Share(share) => write!(f, "{}%", percent(share)),
            Self::NOfM {
                keep,
                group,
                vector: 1,
            } => write!(f, "{keep}:{group}"),
            Self::NOfM {
                keep,
                group,
                vector,
            } => write!(f, "{keep}:{group}x{vector}"),
            Self::Blocks { units, share } => {
                let Units { rows, columns } = units;
                write!(f, "{}% in blocks of {rows}x{columns}", percent(share))
            }
        }
    }
}

impl FromStr for PruneAmount {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let refuse = || {
            setting(
                "sparsity",
                text,
                "a share as 80% or 0.8, N:M as 2:4, or N:MxV as 2:4x16",
            )
        };
        let amount = if let Some((keep, group)) = text.split_once(':') {
            let (group, vector) = group.split_once('x').unwrap_or((group, "1"));
            let number = |text: &str| text.parse::<usize>().map_err(|_| refuse());
            Self::NOfM {
                keep: number(keep)?,
                group: number(group)?,
                vector: number(vector)?,
            }
        } else if let Some(percent) = text.strip_suffix('%') {
            Self::Share(percent.trim().parse::<f64>().map_err(|_| refuse())? / 100.0)
        } else {
            Self::Share(text.parse().map_err(|_| refuse())?)
        };
        amount.check()?;
        Ok(amount)
    }
}

/// What is compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneScope {
    /// The weights of an output: each output loses the same share.
    Row,
    /// The weights of a layer: each layer loses the same share.
    Layer,
    /// The weights of all layers.
    Global,
}

/// When weights go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneSchedule {
    /// All at once.
    OneShot,
    /// While the network trains, most of them early: the cubic schedule of [`crate::compress::prune::Gradual`].
    Gradual {
        /// Epochs from the first pruning to the last.
        epochs: u32,
        /// How often in these epochs.
        prunings: u64,
    },
}

/// How pruned weights are stored; those of convolutions of several groups stay f32.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PruneStorage {
    /// f32 with their zeros.
    Dense,
    /// Without their zeros: N:M, blocks, or distances between kept weights, whichever the amount says. The values
    /// that are kept have this format.
    Sparse(ValueFormat),
}

/// What becomes of a layer that the pattern does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PruneMisfit {
    /// An error that names it.
    Error,
    /// It stays as it is, and the log says so.
    Keep,
}

/// Training while and after weights go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Epochs after the last pruning, with its masks held.
    pub epochs: u32,
    /// The optimizer, whose state is kept from the first step to the last.
    pub optimizer: Optimizer,
    /// Its rate at the first step; it falls to 0 in a line.
    pub learning_rate: f64,
    /// Samples of a step, at most as many as there are.
    pub batch_size: usize,
}

impl Tuning {
    /// AdamW at 0.001 with batches of 128.
    ///
    /// # Errors
    /// None that a caller could cause: the optimizer's name is known.
    pub fn epochs(epochs: u32) -> Result<Self, StageError> {
        let optimizer = Optimizer::named("adamw", Convention::PyTorch)
            .map_err(|error| setting("optimizer", error, "a name"))?;
        Ok(Self {
            epochs,
            optimizer,
            learning_rate: 0.001,
            batch_size: 128,
        })
    }
}

/// What [`super::prune`] does.
#[derive(Debug, Clone, PartialEq)]
pub struct PruneOptions {
    /// How weights are judged.
    pub method: PruneMethod,
    /// How many go.
    pub amount: PruneAmount,
    /// What they are compared with. SparseGPT compares blocks of columns, whatever this says; N:M compares groups.
    pub scope: PruneScope,
    /// When they go.
    pub schedule: PruneSchedule,
    /// Training while and after they go.
    pub tuning: Tuning,
    /// Names of weights that stay as they are, with `*` for any characters.
    pub keep: Vec<String>,
    /// What becomes of a layer that an N:M pattern does not fit.
    pub misfit: PruneMisfit,
    /// How the result is stored.
    pub storage: PruneStorage,
    /// Samples of the training set that gradients (the first ones) and inputs of layers (drawn by the seed) are taken
    /// from.
    pub samples: usize,
}

impl PruneOptions {
    /// One shot without training: rows compared by Wanda and layers by the other methods, nothing kept out, layers
    /// that do not fit left alone, stored with zeros, judged by at most 512 samples.
    ///
    /// # Errors
    /// [`StageError::Setting`] for an amount out of range.
    pub fn new(method: PruneMethod, amount: PruneAmount) -> Result<Self, StageError> {
        amount.check()?;
        Ok(Self {
            method,
            amount,
            scope: match method {
                PruneMethod::Wanda => PruneScope::Row,
                _ => PruneScope::Layer,
            },
            schedule: PruneSchedule::OneShot,
            tuning: Tuning::epochs(0)?,
            keep: Vec::new(),
            misfit: PruneMisfit::Keep,
            storage: PruneStorage::Dense,
            samples: 512,
        })
    }

    /// Refuses what does not go together.
    ///
    /// # Errors
    /// [`StageError`] naming the setting.
    pub fn check(&self) -> Result<(), StageError> {
        self.amount.check()?;
        let is_gpt = self.method == PruneMethod::SparseGpt;
        if is_gpt && self.schedule != PruneSchedule::OneShot {
            return Err(setting("schedule of sparsegpt", "gradual", "one shot"));
        }
        match (self.amount, self.scope) {
            (PruneAmount::Blocks { .. }, _) if is_gpt => {
                return Err(setting(
                    "sparsity of sparsegpt",
                    self.amount,
                    "a share, N:M",
                ));
            }
            (PruneAmount::NOfM { vector, .. }, _) if is_gpt && vector != 1 => {
                return Err(setting(
                    "sparsity of sparsegpt",
                    self.amount,
                    "a share, N:M",
                ));
            }
            (PruneAmount::NOfM { .. }, PruneScope::Global) => {
                return Err(setting(
                    "scope of N:M",
                    "global",
                    "row, layer: each group keeps N",
                ));
            }
            (PruneAmount::Blocks { .. }, PruneScope::Row) => {
                return Err(setting("scope of blocks", "row", "layer, global"));
            }
            (_, PruneScope::Global) if is_gpt => {
                return Err(setting("scope of sparsegpt", "global", "layer"));
            }
            _ => {}
        }
        if let PruneSchedule::Gradual { epochs, prunings } = self.schedule
            && (epochs == 0 || prunings == 0)
        {
            let given = format!("{prunings} prunings in {epochs} epochs");
            return Err(setting(
                "gradual schedule",
                given,
                "at least 1 in at least 1",
            ));
        }
        let rate = self.tuning.learning_rate;
        let inside = rate.is_finite() && rate > 0.0;
        CompressError::check_range("pruning", "learning rate", rate, inside, "above 0")?;
        for (what, value) in [
            ("samples that judge weights", self.samples),
            ("batch size", self.tuning.batch_size),
        ] {
            if value == 0 {
                return Err(setting(what, value, "at least 1"));
            }
        }
        Ok(())
    }

    /// Epochs of training in all.
    #[must_use]
    pub const fn epochs(&self) -> u32 {
        match self.schedule {
            PruneSchedule::OneShot => self.tuning.epochs,
            PruneSchedule::Gradual { epochs, .. } => epochs.saturating_add(self.tuning.epochs),
        }
    }
}

pub(in crate::compress::stage) fn setting(
    what: impl ToString,
    given: impl ToString,
    allowed: impl ToString,
) -> StageError {
    StageError::Setting {
        what: what.to_string(),
        given: given.to_string(),
        allowed: allowed.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_they_display() {
        for (text, shown, share) in [
            ("80%", "80%", 0.8),
            ("0.29", "29%", 0.29),
            ("12.5%", "12.5%", 0.125),
            ("2:4", "2:4", 0.5),
            ("1:8x16", "1:8x16", 0.875),
        ] {
            let amount: PruneAmount = text.parse().unwrap();
            assert_eq!(amount.to_string(), shown);
            assert!((amount.share() - share).abs() < 1e-15);
        }
        let units = Units {
            rows: 16,
            columns: 8,
        };
        let blocks = PruneAmount::Share(0.75).in_blocks(units).unwrap();
        assert_eq!(blocks.to_string(), "75% in blocks of 16x8");
        for text in ["", "much", "100%", "-1%", "NaN", "0:4", "5:4", "2:", "2:4x"] {
            assert!(text.parse::<PruneAmount>().is_err(), "{text}");
        }
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        let of = |method, text: &str| PruneOptions::new(method, text.parse().unwrap()).unwrap();
        let refused = |options: PruneOptions| options.check().unwrap_err().to_string();
        let mut gradual = of(PruneMethod::SparseGpt, "50%");
        gradual.schedule = PruneSchedule::Gradual {
            epochs: 1,
            prunings: 1,
        };
        assert!(refused(gradual).contains("sparsegpt = gradual"));
        assert!(refused(of(PruneMethod::SparseGpt, "2:4x8")).contains("2:4x8"));
        let mut global = of(PruneMethod::Magnitude, "2:4");
        global.scope = PruneScope::Global;
        assert!(refused(global).contains("scope of N:M"));
        let mut never = of(PruneMethod::Magnitude, "50%");
        never.schedule = PruneSchedule::Gradual {
            epochs: 2,
            prunings: 0,
        };
        assert!(refused(never).contains("0 prunings in 2 epochs"));
        let mut rate = of(PruneMethod::Wanda, "50%");
        assert_eq!(rate.scope, PruneScope::Row);
        rate.tuning.learning_rate = f64::NAN;
        assert!(refused(rate).contains("learning rate"));
        for (name, method) in PruneMethod::NAMES {
            assert_eq!(method.to_string(), name);
            assert_eq!(name.parse::<PruneMethod>().unwrap(), method);
        }
        assert!("best".parse::<PruneMethod>().is_err());
    }
}
