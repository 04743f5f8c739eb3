//! Mixed widths: how many bits each weight of a decoder gets, so that a mean of bits is kept and least is lost.
//!
//! Weights that read the same inputs form a group and get one width, since they share factors and are one product when
//! they run. `c(g, b)`, measured before anything is compressed, is the divergence of the model's predictions when
//! group `g` alone is rounded to `b` bits ([`measure`]); what several cost together is taken to be the sum. Then
//!
//! ```text
//! least sum_g c(g, b_g)   with   sum_g bytes(g, b_g) <= budget
//! ```
//!
//! is a knapsack with one choice a group, filled greedily ([`choose`]): from the narrowest width everywhere, the step to
//! a wider one that gains most for each byte it takes, among those that still fit, until none gains. A step may leave
//! widths out, so that a width that costs more than a narrower one is in nobody's way. Of equal steps the first layer's
//! is taken, in it the first group's, of that the narrowest. Bytes are those of the file, scales included.
//!
//! Sources: Dong et al., "HAWQ" (2019), and NVIDIA ModelOpt's `auto_quantize`, for sums of costs of single layers under
//! a budget; the cost itself is measured here and not taken from a Hessian
//! (`docs/decisions/0018-mixed-widths.md`).

pub(super) mod measure;

use serde::Serialize;

use crate::compress::quantize::{Linear, Width};
use crate::compress::stage::StageError;
use crate::compress::stage::quantize::Method as Coding;
use crate::io::compressed_tensors::codes::CodesFormat;
use crate::io::hf::DecoderConfig;
use crate::num::Granularity;

use super::DecoderLinear;
use super::hidden::Site;
use super::plan::{Change, Fate, How, plan_layer};

/// The widths that weights may get, narrowest first.
pub(super) const WIDTHS: [Width; 4] = [Width::Int3, Width::Int4, Width::Int6, Width::Int8];

/// The codes of a width in a mixed model: symmetric, in groups of 32 with f16 scales.
#[must_use]
pub const fn mixed_codes(width: Width) -> Linear {
    Linear::symmetric(width, Granularity::Group(32))
}

/// Weights that read the same inputs, what they may become, and what they do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WidthGroup {
    /// Names of the tensors.
    pub weights: Vec<String>,
    /// From the narrowest on.
    pub options: Vec<WidthOption>,
}

/// One of a group's widths.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WidthOption {
    /// `int4-g32`.
    pub format: String,
    /// Bytes of the group in a file, scales included.
    pub bytes: u64,
    /// Mean divergence of the model's predictions, in nats a token, when the group alone is rounded to nearest.
    pub nats: f64,
    /// Whether this is what the group becomes.
    pub is_chosen: bool,
}

/// The widths of a decoder's weights.
#[derive(Debug, Clone, PartialEq)]
pub struct MixedWidths {
    /// In the order of the layers.
    pub groups: Vec<WidthGroup>,
    pub(super) widths: Widths,
}

/// A width for each group of each layer, by [`Site::ALL`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Widths(Vec<[Chosen; 4]>);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chosen {
    pub width: Width,
    pub nats: f64,
}

impl Widths {
    fn all(n_layers: usize, width: Width) -> Self {
        let nats = 0.0;
        Self(vec![[Chosen { width, nats }; 4]; n_layers])
    }

    pub fn of(&self, layer: usize, which: DecoderLinear) -> Option<Chosen> {
        self.0.get(layer).map(|all| all[Site::of(which) as usize])
    }
}

/// A group, before anything is measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub layer: usize,
    pub site: Site,
    pub choices: Vec<Choice>,
}

/// What a group may become.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub width: Width,
    /// The codes of each of its weights; those that are kept are not there.
    pub linears: Vec<(DecoderLinear, Linear)>,
    pub bytes: u64,
}

/// All groups of a decoder that have weights to be coded, layer by layer.
///
/// # Errors
/// As [`plan_layer`] has it, for any of the widths.
pub(super) fn groups(
    config: &DecoderConfig,
    (change, keep): (&Change, &[String]),
) -> Result<Vec<Group>, StageError> {
    let coding = match change {
        Change::Quantize { coding, .. } => *coding,
        Change::Prune { .. } => return Ok(Vec::new()),
    };
    let mut groups: Vec<Group> = Vec::new();
    for layer in 0..config.n_layers {
        let first = groups.len();
        groups.extend(Site::ALL.map(|site| Group {
            layer,
            site,
            choices: Vec::new(),
        }));
        for width in WIDTHS {
            let widths = Widths::all(config.n_layers, width);
            let how = How {
                change,
                keep,
                widths: Some(&widths),
            };
            let planned = plan_layer(config, layer, how)?;
            for group in &mut groups[first..] {
                let own = planned
                    .iter()
                    .filter(|one| Site::of(one.which) == group.site);
                let coded = own.filter_map(|one| match one.fate {
                    Fate::Codes(linear) => Some((one.which, linear)),
                    Fate::Keep | Fate::Zeros(_) => None,
                });
                let linears: Vec<(DecoderLinear, Linear)> = coded.collect();
                // What does not fit is stored in the same way at every width.
                let is_known = group.choices.iter().any(|one| one.linears == linears);
                if linears.is_empty() || is_known {
                    continue;
                }
                let bytes = linears
                    .iter()
                    .map(|(which, linear)| bytes(which.shape(config), linear, coding))
                    .sum();
                group.choices.push(Choice {
                    width,
                    linears,
                    bytes,
                });
            }
        }
    }
    groups.retain(|group| !group.choices.is_empty());
    Ok(groups)
}

/// Bytes of codes, scales and zero points in a file.
fn bytes([n, k]: [usize; 2], linear: &Linear, coding: Coding) -> u64 {
    let (width, format) = (linear.width, CodesFormat::of(linear.width));
    let words = |count: usize, width: Width| 4 * count.div_ceil(width.per_word());
    let (rows, groups) = match linear.granularity {
        Granularity::Tensor => (1, 1),
        Granularity::Channel => (n, 1),
        Granularity::Group(size) => (n, k.div_ceil((size as usize).max(1))),
    };
    let codes = match format {
        CodesFormat::Bytes => n * k,
        // The extents lie beside the words.
        CodesFormat::Packed => n * words(k, width) + 16,
    };
    // Zero points of HQQ are in steps of what kernels read where that is wider.
    let zeros = match (coding, format) {
        (Coding::Hqq, CodesFormat::Bytes) => rows * groups,
        (Coding::Hqq, CodesFormat::Packed) => {
            let zero_width = match width.widest_spacing() {
                1 => width,
                _ => Width::of(width.container()),
            };
            words(rows, zero_width) * groups
        }
        _ => 0,
    };
    let scales = rows * groups * linear.scale_type.bits() as usize / 8;
    (codes + zeros + scales) as u64
}

/// Weights of a group that get codes.
fn elements(config: &DecoderConfig, group: &Group) -> u64 {
    let linears = group.choices.first().map_or(&[][..], |one| &one.linears);
    let size = |(which, _): &(DecoderLinear, Linear)| which.shape(config).map(|of| of as u64);
    linears.iter().map(size).map(|[n, k]| n * k).sum()
}

/// The bytes that a mean of bits allows.
///
/// # Errors
/// [`StageError::Setting`] for a mean that the narrowest widths are above.
pub(super) fn budget(
    config: &DecoderConfig,
    groups: &[Group],
    mean_bits: f64,
) -> Result<u64, StageError> {
    let elements: u64 = groups.iter().map(|group| elements(config, group)).sum();
    let least: u64 = groups.iter().map(|group| narrowest(group).1).sum();
    let allowed = (mean_bits * elements as f64 / 8.0).floor();
    if allowed.is_finite() && allowed >= least as f64 {
        return Ok(allowed as u64);
    }
    let least_bits = 8.0 * least as f64 / elements.max(1) as f64;
    Err(StageError::Setting {
        what: "mean bits of a weight".to_owned(),
        given: mean_bits.to_string(),
        allowed: format!(
            "{:.2} and more, what the narrowest codes take with their scales",
            // Rounded up, so that what is said is allowed.
            (least_bits * 100.0).ceil() / 100.0
        ),
    })
}

/// The first of a group's choices with the fewest bytes, and these.
fn narrowest(group: &Group) -> (usize, u64) {
    let sizes = group.choices.iter().map(|one| one.bytes).enumerate();
    sizes
        .min_by_key(|&(_, bytes)| bytes)
        .unwrap_or((0, u64::MAX))
}

/// Of costs that a file has, those of the first layers that can be theirs.
pub(super) fn known(groups: &[Group], mut costs: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let fits = |(group, costs): (&Group, &Vec<f64>)| {
        let is_cost = |nats: &f64| nats.is_finite() && *nats >= 0.0;
        group.choices.len() == costs.len() && costs.iter().all(is_cost)
    };
    let fitting = groups.iter().zip(&costs).take_while(|&pair| fits(pair));
    let mut n = fitting.count();
    // Whole layers.
    while n > 0 && n < groups.len() && groups[n].layer == groups[n - 1].layer {
        n -= 1;
    }
    costs.truncate(n);
    costs
}

/// Which choice each group gets; `costs` are its choices' in the same order, in nats.
pub(super) fn choose(groups: &[Group], costs: &[Vec<f64>], budget: u64) -> Vec<usize> {
    let mut chosen: Vec<usize> = groups.iter().map(|group| narrowest(group).0).collect();
    let bytes = |group: usize, choice: usize| groups[group].choices[choice].bytes;
    let taken: u64 = (0..groups.len()).map(|at| bytes(at, chosen[at])).sum();
    let mut left = budget.saturating_sub(taken);
    loop {
        let mut best: Option<(f64, usize, usize, u64)> = None;
        for (at, costs) in costs.iter().enumerate() {
            for (to, &cost) in costs.iter().enumerate() {
                let gain = costs[chosen[at]] - cost;
                let Some(more) = bytes(at, to).checked_sub(bytes(at, chosen[at])) else {
                    continue;
                };
                if gain > 0.0 && more <= left {
                    // A step that takes nothing comes before all others.
                    let rate = gain / more as f64;
                    if best.is_none_or(|(most, ..)| rate > most) {
                        best = Some((rate, at, to, more));
                    }
                }
            }
        }
        let Some((_, at, to, more)) = best else {
            return chosen;
        };
        chosen[at] = to;
        left -= more;
    }
}

impl MixedWidths {
    /// With one choice of each group.
    pub(super) fn of(
        config: &DecoderConfig,
        groups: &[Group],
        costs: &[Vec<f64>],
        chosen: &[usize],
    ) -> Self {
        let mut widths = Widths::all(config.n_layers, Width::Int8);
        let mut shown = Vec::new();
        for ((group, costs), &chosen) in groups.iter().zip(costs).zip(chosen) {
            let choice = &group.choices[chosen];
            widths.0[group.layer][group.site as usize] = Chosen {
                width: choice.width,
                nats: costs[chosen],
            };
            let named = |(which, _): &(DecoderLinear, Linear)| which.tensor(group.layer).hf_name();
            let options = group.choices.iter().zip(costs).enumerate();
            shown.push(WidthGroup {
                weights: choice.linears.iter().map(named).collect(),
                options: options
                    .map(|(at, (one, &nats))| WidthOption {
                        format: one.linears[0].1.to_string(),
                        bytes: one.bytes,
                        nats,
                        is_chosen: at == chosen,
                    })
                    .collect(),
            });
        }
        Self {
            groups: shown,
            widths,
        }
    }

    /// Bytes of all codes in a file, as chosen.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let options = self.groups.iter().flat_map(|group| &group.options);
        options
            .filter(|one| one.is_chosen)
            .map(|one| one.bytes)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::Philox;

    fn group(layer: usize, bytes: &[u64]) -> Group {
        let choice = |(at, &bytes): (usize, &u64)| Choice {
            width: WIDTHS[at],
            linears: vec![(DecoderLinear::Up, mixed_codes(WIDTHS[at]))],
            bytes,
        };
        Group {
            layer,
            site: Site::Ffn,
            choices: bytes.iter().enumerate().map(choice).collect(),
        }
    }

    fn total(groups: &[Group], costs: &[Vec<f64>], chosen: &[usize]) -> (u64, f64) {
        let all = groups.iter().zip(costs).zip(chosen);
        all.fold((0, 0.0), |(bytes, nats), ((group, costs), &at)| {
            (bytes + group.choices[at].bytes, nats + costs[at])
        })
    }

    #[test]
    fn bytes_go_where_they_gain_most() {
        let sizes = [3, 4, 6, 8];
        let groups: Vec<Group> = (0..3).map(|layer| group(layer, &sizes)).collect();
        // The second is hurt most, the third does not care.
        let costs = vec![
            vec![1.0, 0.25, 0.02, 0.01],
            vec![8.0, 2.0, 0.2, 0.1],
            vec![1e-6, 1e-7, 1e-8, 0.0],
        ];
        assert_eq!(choose(&groups, &costs, 9), [0, 0, 0]);
        assert_eq!(choose(&groups, &costs, 10), [0, 1, 0]);
        assert_eq!(choose(&groups, &costs, 12), [0, 2, 0]);
        assert_eq!(choose(&groups, &costs, 13), [1, 2, 0]);
        assert_eq!(choose(&groups, &costs, 100), [3, 3, 3]);
        // Equal gains: the first layer.
        let costs = vec![vec![1.0, 0.5, 0.5, 0.5]; 3];
        assert_eq!(choose(&groups, &costs, 10), [1, 0, 0]);
        // A width that costs more than a narrower one is passed over.
        let costs = vec![vec![1.0, 2.0, 0.5, 0.5]; 3];
        assert_eq!(choose(&groups, &costs, 12), [2, 0, 0]);
    }

    #[test]
    fn the_choice_is_within_the_budget_and_near_the_best_there_is() {
        let mut stream = Philox::new(7).stream(0);
        for _ in 0..200 {
            let groups: Vec<Group> = (0..5)
                .map(|layer| {
                    let size = stream.integer(1..=4) as u64;
                    group(layer, &[3 * size, 4 * size, 6 * size, 8 * size])
                })
                .collect();
            let costs: Vec<Vec<f64>> = (0..5)
                .map(|_| {
                    let scale = f64::from(stream.integer(1..=1000));
                    // Four times less a bit, as squares of steps have it.
                    [3, 4, 6, 8].map(|bits| scale * 0.25f64.powi(bits)).to_vec()
                })
                .collect();
            let least: u64 = groups.iter().map(|one| one.choices[0].bytes).sum();
            let budget = least + stream.integer(0..=20) as u64;
            let chosen = choose(&groups, &costs, budget);
            let (bytes, nats) = total(&groups, &costs, &chosen);
            assert!(bytes <= budget);
            let mut best = f64::INFINITY;
            for code in 0..4usize.pow(5) {
                let other: Vec<usize> = (0..5).map(|at| code / 4usize.pow(at) % 4).collect();
                let (bytes, nats) = total(&groups, &costs, &other);
                if bytes <= budget {
                    best = best.min(nats);
                }
            }
            // Dantzig's bound: up to the first step that does not fit, greedy is the best of the relaxed problem, so
            // it is short by less than that step gains, which is no more than what a group costs at its narrowest.
            let step = costs.iter().map(|one| one[0]).fold(0.0, f64::max);
            assert!(nats <= best + step, "{nats} {best} {step}");
            // No step is left that fits and gains.
            for (at, group) in groups.iter().enumerate() {
                for (to, choice) in group.choices.iter().enumerate() {
                    let more = choice.bytes as i64 - group.choices[chosen[at]].bytes as i64;
                    let fits = bytes as i64 + more <= budget as i64;
                    assert!(!fits || costs[at][to] >= costs[at][chosen[at]]);
                }
            }
        }
    }
}
