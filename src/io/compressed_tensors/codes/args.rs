//! The `weights` and `input_activations` arguments of a config group.

use std::fmt;

use serde_json::{Map, Value, json};

use super::CodesError;
use crate::num::{Granularity, QuantFormat, Width, Zero};

/// How the weights of a config group are quantized. Displays as `int4-g64-zp` or `int8-channel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightArgs {
    /// `num_bits`: the width of codes in the file. What kernels read is [`Width::container`].
    pub width: Width,
    /// Container codes from one code to the next: 1, or [`Width::widest_spacing`] where zero points are finer than the
    /// codes. compressed-tensors has 1; more is an extension, its key `spacing`.
    pub spacing: i32,
    /// `strategy` and `group_size`.
    pub granularity: Granularity,
    /// `symmetric`.
    pub zero: Zero,
}

/// How the activations of a config group are quantized when a layer runs: to int8, symmetric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationArgs {
    /// `strategy: token`, dynamic: a scale for each row.
    Token,
    /// `strategy: group`, dynamic: a scale for this many elements of a row.
    Group(u32),
    /// `strategy: tensor`, static: one scale, the tensor `input_scale` of each layer.
    Tensor,
}

impl WeightArgs {
    /// Those of a matrix whose codes take all that kernels read.
    pub const fn of(format: QuantFormat) -> Self {
        Self::narrow(format, Width::of(format.bits), 1)
    }

    /// Those of a matrix whose codes are the multiples of `spacing` in a width.
    pub const fn narrow(format: QuantFormat, width: Width, spacing: i32) -> Self {
        Self {
            width,
            spacing,
            granularity: format.granularity,
            zero: format.zero,
        }
    }

    /// The width of zero points in the file: where codes are apart, that of what kernels read.
    pub(super) const fn zero_width(&self) -> Width {
        if self.spacing == 1 {
            self.width
        } else {
            Width::of(self.width.container())
        }
    }

    /// The JSON of a config group.
    pub fn to_json(&self) -> Value {
        let (strategy, group_size) = match self.granularity {
            Granularity::Tensor => ("tensor", None),
            Granularity::Channel => ("channel", None),
            Granularity::Group(size) => ("group", Some(size)),
        };
        let mut made = json!({
            "num_bits": self.width.bits(),
            "type": "int",
            "symmetric": self.zero == Zero::Symmetric,
            "strategy": strategy,
            "group_size": group_size,
            "dynamic": false,
        });
        if self.spacing != 1 {
            made["spacing"] = json!(self.spacing);
        }
        made
    }

    /// Reads the `weights` of a config group; `path` names it in errors.
    ///
    /// # Errors
    /// [`CodesError::Argument`] for what is missing or is no scheme of a [`Width`].
    pub fn from_json(path: &str, value: &Value) -> Result<Self, CodesError> {
        let args = Args::of(path, value)?;
        args.expect("type", &json!("int"), "\"int\"")?;
        let bits = args.get("num_bits").as_u64();
        let bits = bits.and_then(|bits| u32::try_from(bits).ok());
        let width = match bits.and_then(Width::of_bits) {
            Some(width) => width,
            None => return Err(args.refuse("num_bits", "2, 3, 4, 6, 8")),
        };
        let spacing = match args.get("spacing") {
            Value::Null => 1,
            value if value.as_i64() == Some(1) => 1,
            value if value.as_i64() == Some(width.widest_spacing().into()) => {
                width.widest_spacing()
            }
            _ => return Err(args.refuse("spacing", "1; at 3 bits also 2, at 2 and 6 bits also 4")),
        };
        let granularity = match args.get("strategy").as_str() {
            Some("tensor") => Granularity::Tensor,
            Some("channel") => Granularity::Channel,
            Some("group") => Granularity::Group(args.group_size()?),
            // Older files leave the strategy to the group size.
            None if args.get("strategy").is_null() => match args.get("group_size") {
                Value::Null => Granularity::Tensor,
                size if size.as_i64() == Some(-1) => Granularity::Channel,
                _ => Granularity::Group(args.group_size()?),
            },
            _ => return Err(args.refuse("strategy", "\"tensor\", \"channel\", \"group\"")),
        };
        let zero = match args.get("symmetric") {
            Value::Null | Value::Bool(true) => Zero::Symmetric,
            Value::Bool(false) => Zero::ZeroPoint,
            _ => return Err(args.refuse("symmetric", "true, false")),
        };
        if !matches!(args.get("actorder"), Value::Null | Value::Bool(false))
            && args.get("actorder").as_str() != Some("static")
        {
            return Err(args.refuse("actorder", "null, \"static\""));
        }
        Ok(Self {
            width,
            spacing,
            granularity,
            zero,
        })
    }
}

impl fmt::Display for WeightArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.granularity {
            Granularity::Tensor => write!(f, "{}-tensor", self.width)?,
            Granularity::Channel => write!(f, "{}-channel", self.width)?,
            Granularity::Group(size) => write!(f, "{}-g{size}", self.width)?,
        }
        match self.zero {
            Zero::Symmetric => Ok(()),
            Zero::ZeroPoint => f.write_str("-zp"),
            Zero::FloatMinimum => f.write_str("-min"),
        }
    }
}

impl ActivationArgs {
    /// The JSON of a config group.
    pub fn to_json(&self) -> Value {
        let (strategy, group_size) = match self {
            Self::Token => ("token", None),
            Self::Group(size) => ("group", Some(*size)),
            Self::Tensor => ("tensor", None),
        };
        json!({
            "num_bits": 8,
            "type": "int",
            "symmetric": true,
            "strategy": strategy,
            "group_size": group_size,
            "dynamic": *self != Self::Tensor,
        })
    }

    /// Reads the `input_activations` of a config group; `None` where they are not quantized.
    ///
    /// # Errors
    /// [`CodesError::Argument`] for what is not int8, dynamic by rows or by groups, or static by tensors.
    pub fn from_json(path: &str, value: &Value) -> Result<Option<Self>, CodesError> {
        if value.is_null() {
            return Ok(None);
        }
        let args = Args::of(path, value)?;
        args.expect("type", &json!("int"), "\"int\"")?;
        args.expect("num_bits", &json!(8), "8")?;
        args.expect("symmetric", &json!(true), "true")?;
        if args.get("dynamic") == &json!(false) {
            args.expect(
                "strategy",
                &json!("tensor"),
                "\"tensor\" where dynamic is false",
            )?;
            return Ok(Some(Self::Tensor));
        }
        args.expect("dynamic", &json!(true), "true, false")?;
        match args.get("strategy").as_str() {
            Some("token") => Ok(Some(Self::Token)),
            Some("group") => Ok(Some(Self::Group(args.group_size()?))),
            _ => Err(args.refuse("strategy", "\"token\", \"group\"")),
        }
    }
}

/// An object of the configuration and where it stands.
struct Args<'a> {
    path: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Args<'a> {
    fn of(path: &'a str, value: &'a Value) -> Result<Self, CodesError> {
        match value.as_object() {
            Some(object) => Ok(Self { path, object }),
            None => Err(CodesError::Argument {
                key: path.to_owned(),
                found: short(value),
                allowed: "an object",
            }),
        }
    }

    fn get(&self, key: &str) -> &'a Value {
        self.object.get(key).unwrap_or(&Value::Null)
    }

    fn group_size(&self) -> Result<u32, CodesError> {
        let size = self.get("group_size").as_u64();
        match size.and_then(|size| u32::try_from(size).ok()) {
            Some(size @ 1..) => Ok(size),
            _ => Err(self.refuse("group_size", "1 to 4294967295")),
        }
    }

    fn expect(&self, key: &str, value: &Value, allowed: &'static str) -> Result<(), CodesError> {
        if self.get(key) == value {
            return Ok(());
        }
        Err(self.refuse(key, allowed))
    }

    fn refuse(&self, key: &str, allowed: &'static str) -> CodesError {
        CodesError::Argument {
            key: format!("{}.{key}", self.path),
            found: short(self.get(key)),
            allowed,
        }
    }
}

/// A value for a message, cut where it is long.
fn short(value: &Value) -> String {
    crate::io::safetensors::shown(&value.to_string())
}
