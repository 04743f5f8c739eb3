//! Quantization of a network: normalizations folded first, a plan for each weight, then codes by the method asked
//! for, on the inputs that samples of the training set give each layer.
//!
//! Codes come from the CPU in f64. Nothing that is stored is ever NaN: inputs that were zero in every sample have their
//! weights rounded to nearest, and so has a layer with fewer rows of samples than inputs on which the method loses on
//! those it did not see ([`few`](super::few)); the reason is in the log.
//!
//! Scales of activations that are found beforehand come last, from a pass over the network as it is stored.

mod fit;
mod inputs;
mod layer;
mod log;
mod scheme;
mod smooth;

use crate::compress::model::{Model, Stored, matrix_shape};
use crate::compress::quantize::{
    Action, Gptq, Layer as PlannedLayer, Misfit, Planned, RangeChoice, hqq_bytes, matches_pattern,
    plan,
};
use crate::models::{Layer, fold};
use crate::num::{Granularity, Values};

use super::calibrate::calibrate;
use super::kept::{Kept, Notes};
use super::{Context, StageError};
use layer::Work;

pub(super) use layer::kept_scheme;

pub use log::{LayerLog, QuantizeLog};
pub use scheme::{ActivationScheme, Codes, QuantizeScheme};

/// The note of layers that are kept.
const LAYERS: &str = "layers";

/// How codes are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Method {
    /// Each weight to the nearest code.
    Nearest,
    /// Column by column, the rest of the row making up for the error.
    #[default]
    Gptq,
    /// Factors for inputs with large values, moved into the layer before.
    Awq,
    /// Zero points fitted to a norm that minds outliers less; needs no samples.
    Hqq,
    /// Factors that even out activations, moved into the layer before, then to nearest.
    SmoothQuant,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] = [
        Self::Nearest,
        Self::Gptq,
        Self::Awq,
        Self::Hqq,
        Self::SmoothQuant,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Gptq => "gptq",
            Self::Awq => "awq",
            Self::Hqq => "hqq",
            Self::SmoothQuant => "smoothquant",
        }
    }
}

impl std::str::FromStr for Method {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let found = Self::ALL.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| StageError::Setting {
            what: "method".to_owned(),
            given: text.to_owned(),
            allowed: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// Settings of [`quantize`].
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeOptions {
    /// What weights become, and how activations meet them.
    pub scheme: QuantizeScheme,
    /// How codes are found.
    pub method: Method,
    /// Patterns of weights that stay as they are: `*` for any characters, `?` for one.
    pub keep: Vec<String>,
    /// What becomes of weights that the scheme does not fit.
    pub misfit: Misfit,
    /// Whether the mean error of a layer's outputs is taken into its bias.
    pub bias_correction: bool,
    /// Samples of the training set that calibrate.
    pub samples: usize,
    /// Numbers of GPTQ.
    pub gptq: Gptq,
}

impl QuantizeOptions {
    /// GPTQ over 256 samples; nothing kept, misfits are errors, biases stay.
    pub fn new(scheme: QuantizeScheme) -> Self {
        Self {
            scheme,
            method: Method::default(),
            keep: Vec::new(),
            misfit: Misfit::Error,
            bias_correction: false,
            samples: 256,
            gptq: Gptq::default(),
        }
    }

    /// Refuses methods that do not go with the scheme.
    fn check(&self) -> Result<(), StageError> {
        let refuse = |allowed: &str| {
            Err(StageError::Setting {
                what: format!("method with {}", self.scheme),
                given: self.method.name().to_owned(),
                allowed: allowed.to_owned(),
            })
        };
        match (self.scheme.codes, self.method) {
            (Codes::Levels(..), Method::Nearest) => Ok(()),
            (Codes::Levels(..), _) => refuse("nearest, which finds the nearest level"),
            (Codes::Linear(linear), Method::Hqq) if linear.granularity == Granularity::Tensor => {
                refuse("any but hqq, which needs channels or groups")
            }
            (Codes::Linear(_), _) => Ok(()),
        }
    }
}

/// What would become of each weight, without touching anything.
///
/// # Errors
/// [`StageError::Setting`] for a method that does not go with the scheme, a pattern that fits no weight, and no weight
/// left to quantize, [`StageError::Compress`] naming a weight that does not fit, and the fix.
pub fn plan_quantize(model: &Model, options: &QuantizeOptions) -> Result<Vec<Planned>, StageError> {
    options.check()?;
    let weights = model.weights();
    for pattern in &options.keep {
        if !weights
            .iter()
            .any(|one| matches_pattern(pattern, &one.name))
        {
            let names: Vec<&str> = weights.iter().map(|one| one.name.as_str()).collect();
            return Err(StageError::Setting {
                what: "pattern of weights to keep".to_owned(),
                given: pattern.clone(),
                allowed: format!("patterns that fit one of {}", names.join(", ")),
            });
        }
    }
    let keep: Vec<&str> = options.keep.iter().map(String::as_str).collect();
    let mut planned = Vec::new();
    for spec in &weights {
        let [n, k] = matrix_shape(&spec.shape);
        let name = spec.name.as_str();
        let kept = |reason: String| Planned {
            name: name.to_owned(),
            action: Action::Keep,
            reason,
            bytes: model.tensor(name).map_or(0, Stored::bytes),
        };
        let groups = match model.network().layers().get(layer_index(name)) {
            Some(Layer::Conv2d { groups, .. }) => *groups,
            _ => 1,
        };
        if groups != 1 && options.scheme.as_linear().is_some() {
            planned.push(kept(format!(
                "kept: no kernel takes codes for a convolution of {groups} groups"
            )));
            continue;
        }
        match model.tensor(name) {
            Some(Stored::Float(_)) | None => {}
            Some(Stored::Sparse { matrix, shape, .. })
                if matches!(matrix.values(), Values::Float(_)) =>
            {
                planned.push(match kept_by(&keep, name) {
                    Some(reason) => kept(reason),
                    None => {
                        let how = (&options.scheme.codes, options.misfit);
                        fit::pruned((name, shape), matrix, how)?
                    }
                });
                continue;
            }
            Some(stored) => {
                planned.push(kept(format!("kept: it is {} already", stored.format())));
                continue;
            }
        }
        if let Some(reason) = kept_by(&keep, name) {
            planned.push(kept(reason));
            continue;
        }
        match &options.scheme.codes {
            Codes::Linear(linear) => {
                if let (RangeChoice::Kl, Some(stored)) = (linear.range, model.tensor(name)) {
                    let values = stored.values().to_f32()?;
                    let how = (linear, options.misfit);
                    if let Some(other) = fit::divergence((name, [n, k]), &values, how)? {
                        planned.push(other);
                        continue;
                    }
                }
                let layer = PlannedLayer { name, n, k };
                let mut made = plan(&[layer], linear, &keep, options.misfit)?;
                if options.method == Method::Hqq {
                    for one in &mut made {
                        if let Action::Quantize(linear) = one.action {
                            one.bytes = hqq_bytes([n, k], &linear);
                        }
                    }
                }
                planned.append(&mut made);
            }
            Codes::Levels(codebook, granularity) => {
                let how = (*codebook, *granularity);
                planned.push(fit::levels((name, [n, k]), how, options.misfit)?);
            }
        }
    }
    if planned.iter().all(|one| one.action == Action::Keep) {
        let reasons = planned
            .iter()
            .map(|one| format!("{} {}", one.name, one.reason));
        return Err(StageError::Setting {
            what: "weights to quantize".to_owned(),
            given: format!("none ({})", reasons.collect::<Vec<_>>().join("; ")),
            allowed: "a model with at least one".to_owned(),
        });
    }
    Ok(planned)
}

/// Why a weight of this name stays, if the list says so.
fn kept_by(keep: &[&str], name: &str) -> Option<String> {
    let pattern = keep.iter().find(|pattern| matches_pattern(pattern, name))?;
    Some(format!("kept: its name matches `{pattern}`"))
}

/// Quantizes a model.
///
/// # Errors
/// What [`plan_quantize`] and [`calibrate`] say, [`StageError::Compress`] naming a layer whose inputs are too few for a
/// range chosen by a histogram, and [`StageError::Stopped`].
pub fn quantize(
    context: &Context<'_>,
    model: &Model,
    options: &QuantizeOptions,
) -> Result<(Model, QuantizeLog), StageError> {
    options.check()?;
    let mut log = QuantizeLog {
        scheme: options.scheme.to_string(),
        method: options.method.name().to_owned(),
        ..QuantizeLog::default()
    };
    let folded = fold_normalizations(model, &mut log.notes)?;
    let planned = plan_quantize(&folded, options)?;
    let inputs = calibrate(context, &folded, options.samples)?;
    let scales = match options.scheme.activations {
        ActivationScheme::Static(range) => {
            let coded = planned
                .iter()
                .filter(|one| matches!(one.action, Action::Quantize(_)));
            let names: Vec<&str> = coded.map(|one| one.name.as_str()).collect();
            inputs::check_ranges(&inputs, (&names, range))?;
            Some((names, range))
        }
        ActivationScheme::AsTheyCome(_) => None,
    };
    log.samples = options.samples.min(context.train.n_samples());
    if log.samples < options.samples {
        log.notes.push(format!(
            "{} samples asked for to calibrate; the training set has {}",
            options.samples, log.samples
        ));
    }
    let n_layers = planned.len();
    let kept = Kept::of(context, ("quantize", model), options)?;
    let (mut begun, mut first) = (folded, 0);
    if let Some((done, before, notes)) = kept.as_ref().and_then(|kept| kept.model(n_layers))
        && let Some(layers) = notes.get(LAYERS)
    {
        (begun, first, log.layers) = (before, done, layers);
    }
    let mut work = Work::new(begun, &inputs, options);
    // From the last layer to the first: factors moved into a layer come before its own codes.
    for (done, planned) in planned.iter().rev().enumerate().skip(first) {
        context.tell("quantize", planned.name.clone(), [done, n_layers])?;
        let layer = work.layer(planned)?;
        log.layers.insert(0, layer);
        if let Some(kept) = &kept {
            let notes = Notes::default().with(LAYERS, &log.layers)?;
            kept.keep_model(done + 1, work.model(), &notes)?;
        }
    }
    let mut made = work.finish();
    if let Some((names, range)) = &scales {
        inputs::find_scales(
            context,
            &mut made,
            (names, *range),
            (options.samples, &mut log),
        )?;
    }
    Ok((made, log))
}

/// The model with its normalizations folded into the layers before them.
pub(super) fn fold_normalizations(
    model: &Model,
    notes: &mut Vec<String>,
) -> Result<Model, StageError> {
    let layers = model.network().layers();
    let is_folded = |at: usize| {
        matches!(layers[at], Layer::BatchNorm { .. })
            && matches!(layers[at - 1], Layer::Linear { .. } | Layer::Conv2d { .. })
    };
    let count = (1..layers.len()).filter(|&at| is_folded(at)).count();
    if count == 0 {
        return Ok(model.clone());
    }
    if !model
        .tensors()
        .iter()
        .all(|(_, one)| matches!(one, Stored::Float(_)))
    {
        notes.push("normalizations are not folded: some weights have a format already".to_owned());
        return Ok(model.clone());
    }
    let (network, values) = fold(model.network(), &model.values())?;
    notes.push(format!(
        "{count} normalizations folded into the layers before them"
    ));
    Ok(Model::new(network, model.inputs().clone(), values)?)
}

/// `i` of a tensor `i.weight`; past every layer for other names.
fn layer_index(name: &str) -> usize {
    let index = name.split('.').next().and_then(|index| index.parse().ok());
    index.unwrap_or(usize::MAX)
}
