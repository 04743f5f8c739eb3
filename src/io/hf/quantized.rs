//! Quantized linear layers of a folder, as GPTQ, AWQ and compressed-tensors store them, brought into our own streams
//! without loss. Which of them it is says the `quantization_config` of `config.json`:
//!
//! | `quant_method` | tensors of the layer `X [n, k]` | read with |
//! |---|---|---|
//! | `gptq` | `X.qweight`, `X.qzeros`, `X.scales`, `X.g_idx` if there is one | [`gptq`] |
//! | `awq` | `X.qweight`, `X.qzeros`, `X.scales` | [`awq`] |
//! | `compressed-tensors` | `X.weight_packed` or `X.weight` of i8, `X.weight_scale` and more | [`codes`](crate::io::compressed_tensors::codes) |

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::Fields;
use super::{ConfigError, HfError, Shards};
use crate::io::compressed_tensors::codes::{ActivationArgs, WeightArgs, read_codes_file};
use crate::io::safetensors::shown;
use crate::num::checkpoint::{AwqParts, CheckpointError, GptqParts, GptqZeros, awq, gptq};
use crate::num::{Bits, Granularity, QuantFormat, QuantizedMatrix, ScaleType, Zero};
use crate::tensor::{DType, HostTensor};

/// How the linear layers of a folder are quantized.
#[derive(Clone, Debug, PartialEq)]
pub enum QuantizationConfig {
    /// GPTQ.
    Gptq {
        /// 2, 3, 4 or 8.
        bits: u32,
        /// Inputs that share a scale; `None` for a whole row.
        group_size: Option<usize>,
        /// How zero points are stored, as the file says.
        zeros: GptqZeros,
        /// Whether all zero points are the middle code.
        is_symmetric: bool,
    },
    /// AWQ in its `gemm` layout, 4 bits.
    Awq {
        /// Inputs that share a scale; `None` for a whole row.
        group_size: Option<usize>,
    },
    /// Dense integers of compressed-tensors.
    CompressedTensors(CodeGroups),
}

/// The config groups of compressed-tensors: which layers have which codes.
#[derive(Clone, Debug, PartialEq)]
pub struct CodeGroups {
    /// Of layers that no group names.
    all: Option<WeightArgs>,
    /// By the layer's name.
    named: BTreeMap<String, WeightArgs>,
    /// What groups say of `input_activations`, where that is not null: as it stands there, and where it is a scheme
    /// that is known.
    inputs: Vec<(String, Option<ActivationArgs>)>,
}

impl CodeGroups {
    /// The codes of a layer; `None` where no group is for it.
    #[must_use]
    pub fn of(&self, layer: &str) -> Option<&WeightArgs> {
        self.named.get(layer).or(self.all.as_ref())
    }

    /// The first `input_activations` of a group that are others than those layers are run with. Reading weights does not
    /// follow them: whoever runs the layers chooses.
    #[must_use]
    pub fn other_inputs(&self, run_with: Option<ActivationArgs>) -> Option<&str> {
        let is_other =
            |(_, args): &&(String, Option<ActivationArgs>)| args.is_none() || *args != run_with;
        self.inputs
            .iter()
            .find(is_other)
            .map(|(said, _)| said.as_str())
    }

    /// All codes that there are, each once.
    #[must_use]
    pub fn kinds(&self) -> Vec<WeightArgs> {
        let mut kinds: Vec<WeightArgs> = self.all.into_iter().collect();
        for args in self.named.values() {
            if !kinds.contains(args) {
                kinds.push(*args);
            }
        }
        kinds
    }
}

/// A quantized layer, and the order of its columns.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedLinear {
    /// `[n, k]`; with `order`, its columns are sorted by group.
    pub matrix: QuantizedMatrix,
    /// Column `j` meets input `order[j]`; `None` when columns are inputs.
    pub order: Option<Vec<u32>>,
}

/// A part of a quantized layer that is wrong.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LinearError {
    /// Another element type.
    #[error("tensor {name:?} has dtype {dtype}; allowed: {allowed}")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: DType,
        /// What the format allows.
        allowed: &'static str,
    },
    /// Another shape.
    #[error("tensor {name:?} has shape {found:?}; expected {expected}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What is allowed.
        expected: String,
    },
    /// Codes that nothing is said of.
    #[error(
        "layer {layer:?} has codes, but no config group has \"Linear\" or its name among its targets"
    )]
    NoGroup {
        /// The layer.
        layer: String,
    },
    /// Parts that do not form a matrix.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl QuantizationConfig {
    /// [`CodeGroups::other_inputs`]; `None` of the other methods, which leave inputs as they are.
    #[must_use]
    pub fn other_inputs(&self, run_with: Option<ActivationArgs>) -> Option<&str> {
        match self {
            Self::CompressedTensors(groups) => groups.other_inputs(run_with),
            Self::Gptq { .. } | Self::Awq { .. } => None,
        }
    }

    /// Reads a `config.json`; `None` where nothing is quantized.
    ///
    /// # Errors
    /// A [`ConfigError`] naming the field, what stands there and what is allowed.
    pub fn from_json(text: &str) -> Result<Option<Self>, ConfigError> {
        let json = Fields::parse(text)?;
        let Some(config) = json.get("quantization_config") else {
            return Ok(None);
        };
        let config = Fields::of(config, "quantization_config")?;
        match config.text("quant_method")? {
            "gptq" => config.gptq(),
            "awq" => config.awq(),
            "compressed-tensors" => config.compressed_tensors(),
            found => Err(ConfigError::Unsupported {
                feature: "quant_method",
                found: shown(found),
                allowed: "gptq, awq, compressed-tensors",
            }),
        }
        .map(Some)
    }

    /// The layer `X` of `X.weight`; `None` where it is not quantized.
    ///
    /// # Errors
    /// [`HfError::Linear`] for parts that are wrong, [`HfError::Shards`] for parts that are absent, [`HfError::Io`]
    /// as [`read_codes_file`] has it.
    pub fn linear(&self, shards: &Shards, layer: &str) -> Result<Option<QuantizedLinear>, HfError> {
        if !self.is_quantized(shards, layer) {
            return Ok(None);
        }
        let named = |reason| HfError::Linear {
            file: shards.folder().to_owned(),
            reason: Box::new(reason),
        };
        match self {
            Self::CompressedTensors(groups) => {
                let packed = format!("{layer}.weight_scale");
                let args = groups.of(layer).ok_or_else(|| named(no_group(layer)))?;
                let matrix = read_codes_file(shards.shard_of(&packed)?, layer, args)?;
                Ok(Some(QuantizedLinear {
                    matrix,
                    order: None,
                }))
            }
            Self::Gptq { .. } | Self::Awq { .. } => {
                let parts = Parts::read(shards, layer)?;
                let read = match self {
                    Self::Awq { group_size } => parts.awq(*group_size),
                    _ => parts.gptq(self),
                };
                read.map(Some).map_err(named)
            }
        }
    }

    /// Device bytes of the layer, from the shapes of its parts; `None` where it is not quantized.
    ///
    /// # Errors
    /// [`HfError::Shards`] for parts that are absent.
    pub fn device_bytes(&self, shards: &Shards, layer: &str) -> Result<Option<u64>, HfError> {
        if !self.is_quantized(shards, layer) {
            return Ok(None);
        }
        let shape = |part: &str| -> Result<[usize; 2], HfError> {
            let (entry, _) = shards.tensor_bytes(&format!("{layer}.{part}"))?;
            let extent = |at: usize| entry.shape.get(at).copied().unwrap_or(1);
            Ok([extent(0), extent(1)])
        };
        let (bits, [n, k], groups) = match self {
            Self::Gptq { bits, .. } => {
                let [rows, n] = shape("qweight")?;
                (*bits, [n, input_features(rows, *bits)], shape("scales")?[0])
            }
            Self::Awq { .. } => {
                let [k, words] = shape("qweight")?;
                (4, [words.saturating_mul(8), k], shape("scales")?[0])
            }
            Self::CompressedTensors(groups) => {
                let args = groups.of(layer).ok_or_else(|| HfError::Linear {
                    file: shards.folder().to_owned(),
                    reason: Box::new(no_group(layer)),
                })?;
                let bits = args.width.container().bits();
                let [n, k] = if shards.has(&format!("{layer}.weight_packed")) {
                    let [n, words] = shape("weight_packed")?;
                    [n, words.saturating_mul(args.width.per_word())]
                } else {
                    shape("weight")?
                };
                (bits, [n, k], shape("weight_scale")?[1])
            }
        };
        let format = QuantFormat {
            bits: if bits == 8 { Bits::Int8 } else { Bits::Int4 },
            granularity: Granularity::Group((k / groups.max(1)).max(1) as u32),
            zero: Zero::ZeroPoint,
            scale_type: ScaleType::F16,
        };
        Ok(Some(format.device_bytes(n, k)))
    }

    /// Whether the layer is quantized.
    #[must_use]
    pub fn is_quantized(&self, shards: &Shards, layer: &str) -> bool {
        let part = match self {
            Self::Gptq { .. } | Self::Awq { .. } => "qweight",
            Self::CompressedTensors(_) => "weight_scale",
        };
        shards.has(&format!("{layer}.{part}"))
    }
}

fn no_group(layer: &str) -> LinearError {
    LinearError::NoGroup {
        layer: shown(layer),
    }
}

/// Inputs whose codes fill so many words.
const fn input_features(words: usize, bits: u32) -> usize {
    words.saturating_mul(32) / bits as usize
}

/// The parts that GPTQ and AWQ have in common.
struct Parts {
    layer: String,
    qweight: HostTensor,
    qzeros: HostTensor,
    scales: HostTensor,
    g_idx: Option<HostTensor>,
}

impl Parts {
    fn read(shards: &Shards, layer: &str) -> Result<Self, HfError> {
        let part = |part: &str| shards.tensor(&format!("{layer}.{part}"));
        let g_idx = format!("{layer}.g_idx");
        Ok(Self {
            layer: shown(layer),
            qweight: part("qweight")?,
            qzeros: part("qzeros")?,
            scales: part("scales")?,
            g_idx: shards
                .has(&g_idx)
                .then(|| shards.tensor(&g_idx))
                .transpose()?,
        })
    }

    fn awq(&self, group_size: Option<usize>) -> Result<QuantizedLinear, LinearError> {
        let [k, words] = self.matrix("qweight", &self.qweight)?;
        let n = words.saturating_mul(8);
        self.check_groups([n, words], k, group_size)?;
        let matrix = awq(
            &self.layer,
            &AwqParts {
                n,
                k,
                group_size,
                qweight: &self.words("qweight", &self.qweight)?,
                qzeros: &self.words("qzeros", &self.qzeros)?,
                scales: &self.floats()?,
            },
        )?;
        Ok(QuantizedLinear {
            matrix,
            order: None,
        })
    }

    fn gptq(&self, config: &QuantizationConfig) -> Result<QuantizedLinear, LinearError> {
        let QuantizationConfig::Gptq {
            bits,
            group_size,
            zeros,
            is_symmetric,
        } = *config
        else {
            return self.awq(None);
        };
        let [rows, n] = self.matrix("qweight", &self.qweight)?;
        let k = input_features(rows, bits);
        self.check_groups([n, n.saturating_mul(bits as usize) / 32], k, group_size)?;
        let qzeros = self.words("qzeros", &self.qzeros)?;
        // Some files contradict their configuration; the words of symmetric ones tell.
        let told = (is_symmetric && bits == 4)
            .then(|| GptqZeros::of_symmetric_int4(&qzeros))
            .flatten();
        let g_idx = match &self.g_idx {
            None => None,
            Some(host) => Some(host.to_i32().map_err(|_| LinearError::Dtype {
                name: self.name("g_idx"),
                dtype: host.dtype(),
                allowed: "i32",
            })?),
        };
        let found = gptq(
            &self.layer,
            &GptqParts {
                bits,
                n,
                k,
                group_size,
                qweight: &self.words("qweight", &self.qweight)?,
                qzeros: &qzeros,
                zeros: told.unwrap_or(zeros),
                scales: &self.floats()?,
                g_idx: g_idx.as_deref(),
            },
        )?;
        Ok(QuantizedLinear {
            matrix: found.matrix,
            order: found.order,
        })
    }

    /// That zero points and scales have the shapes of so many groups, not only as many elements.
    fn check_groups(
        &self,
        [n, zero_words]: [usize; 2],
        k: usize,
        group_size: Option<usize>,
    ) -> Result<(), LinearError> {
        let groups = group_size.map_or(1, |size| k.div_ceil(size.max(1)));
        for (part, host, columns) in [
            ("qzeros", &self.qzeros, zero_words),
            ("scales", &self.scales, n),
        ] {
            if host.shape() != [groups, columns] {
                return Err(LinearError::Shape {
                    name: self.name(part),
                    found: host.shape().to_vec(),
                    expected: format!("[{groups}, {columns}]"),
                });
            }
        }
        Ok(())
    }

    fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.layer)
    }

    fn matrix(&self, part: &str, host: &HostTensor) -> Result<[usize; 2], LinearError> {
        <[usize; 2]>::try_from(host.shape()).map_err(|_| LinearError::Shape {
            name: self.name(part),
            found: host.shape().to_vec(),
            expected: "two dimensions".to_owned(),
        })
    }

    fn words(&self, part: &str, host: &HostTensor) -> Result<Vec<u32>, LinearError> {
        if host.dtype() != DType::I32 {
            return Err(LinearError::Dtype {
                name: self.name(part),
                dtype: host.dtype(),
                allowed: "i32",
            });
        }
        Ok(host.words())
    }

    fn floats(&self) -> Result<Vec<f32>, LinearError> {
        self.scales.to_f32().map_err(|_| LinearError::Dtype {
            name: self.name("scales"),
            dtype: self.scales.dtype(),
            allowed: "f32, f16, bf16",
        })
    }
}

impl Fields {
    fn gptq(&self) -> Result<QuantizationConfig, ConfigError> {
        let bits = self.count("bits")? as u32;
        let zeros = match self.get("checkpoint_format").and_then(Value::as_str) {
            None | Some("gptq") => GptqZeros::MinusOne,
            Some("gptq_v2") => GptqZeros::AsTheyAre,
            Some(found) => {
                return Err(ConfigError::Unsupported {
                    feature: "checkpoint_format",
                    found: shown(found),
                    allowed: "gptq, gptq_v2",
                });
            }
        };
        if ![2, 3, 4, 8].contains(&bits) {
            return Err(ConfigError::Unsupported {
                feature: "bits",
                found: bits.to_string(),
                allowed: "2, 3, 4, 8",
            });
        }
        Ok(QuantizationConfig::Gptq {
            bits,
            group_size: self.group_size("group_size")?,
            zeros,
            is_symmetric: self.flag("sym", true)?,
        })
    }

    fn awq(&self) -> Result<QuantizationConfig, ConfigError> {
        let either = |names: [&'static str; 2]| {
            let [old, new] = names;
            if self.get(old).is_some() { old } else { new }
        };
        let bits = self.count(either(["w_bit", "bits"]))?;
        if bits != 4 {
            return Err(ConfigError::Unsupported {
                feature: "bits",
                found: bits.to_string(),
                allowed: "4",
            });
        }
        if let Some(version) = self.get("version") {
            let version = version.as_str().unwrap_or_default();
            if !version.eq_ignore_ascii_case("gemm") {
                return Err(ConfigError::Unsupported {
                    feature: "version",
                    found: shown(version),
                    allowed: "gemm",
                });
            }
        }
        let group_size = self.group_size(either(["q_group_size", "group_size"]))?;
        Ok(QuantizationConfig::Awq { group_size })
    }

    /// -1 is a whole row.
    fn group_size(&self, field: &'static str) -> Result<Option<usize>, ConfigError> {
        match self.get(field).and_then(Value::as_i64) {
            Some(-1) => Ok(None),
            _ => self.count(field).map(Some),
        }
    }

    fn compressed_tensors(&self) -> Result<QuantizationConfig, ConfigError> {
        if let Some(format) = self.get("format") {
            let format = format.as_str().unwrap_or_default();
            if !FORMATS.contains(&format) {
                return Err(ConfigError::Unsupported {
                    feature: "format",
                    found: shown(format),
                    allowed: "pack-quantized, int-quantized, naive-quantized, mixed-precision",
                });
            }
        }
        let wrong = |found: String| ConfigError::Unsupported {
            feature: "config_groups",
            found,
            allowed: "groups of integer weights whose targets are \"Linear\" or names of layers",
        };
        let groups = self.get("config_groups").and_then(Value::as_object);
        let groups = groups.ok_or_else(|| wrong("missing".to_owned()))?;
        let mut found = CodeGroups {
            all: None,
            named: BTreeMap::new(),
            inputs: Vec::new(),
        };
        for (name, group) in groups {
            let path = format!("config_groups.{}.weights", shown(name));
            let weights = group.get("weights").unwrap_or(&Value::Null);
            let args = WeightArgs::from_json(&path, weights);
            let args = args.map_err(|reason| ConfigError::Argument {
                reason: reason.to_string(),
            })?;
            let inputs = group.get("input_activations").unwrap_or(&Value::Null);
            if !inputs.is_null() {
                let args = ActivationArgs::from_json("input_activations", inputs);
                let said = shown(&inputs.to_string());
                found.inputs.push((said, args.ok().flatten()));
            }
            let targets = group.get("targets").and_then(Value::as_array);
            let listed = || wrong(format!("targets {}", shown(&group["targets"].to_string())));
            for target in targets.filter(|all| !all.is_empty()).ok_or_else(listed)? {
                let target = target.as_str().ok_or_else(listed)?;
                let before = match target {
                    "Linear" => found.all.replace(args),
                    // A pattern, or another class.
                    _ if target.starts_with("re:") || !target.contains(['.', '_']) => {
                        return Err(listed());
                    }
                    layer => found.named.insert(layer.to_owned(), args),
                };
                if before.is_some() {
                    return Err(wrong(format!("target {} in two groups", shown(target))));
                }
            }
        }
        if found.kinds().is_empty() {
            return Err(wrong("none".to_owned()));
        }
        Ok(QuantizationConfig::CompressedTensors(found))
    }
}

/// Values of `format` whose codes are read.
const FORMATS: [&str; 5] = [
    "pack-quantized",
    "int-quantized",
    "naive-quantized",
    "mixed-precision",
    // As pack-quantized, with zero points finer than a code: an extension.
    "lapidary-spread",
];
