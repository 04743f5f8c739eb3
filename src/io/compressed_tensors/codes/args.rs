//! The `weights` and `input_activations` arguments of a config group.

use serde_json::{Map, Value, json};

use super::CodesError;
use crate::num::{Bits, Granularity, QuantFormat, Zero};

/// How the weights of a config group are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightArgs {
    /// `num_bits`.
    pub bits: Bits,
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
}

impl WeightArgs {
    /// Those of a matrix.
    pub const fn of(format: QuantFormat) -> Self {
        Self {
            bits: format.bits,
            granularity: format.granularity,
            zero: format.zero,
        }
    }

    /// The JSON of a config group.
    pub fn to_json(&self) -> Value {
        let (strategy, group_size) = match self.granularity {
            Granularity::Tensor => ("tensor", None),
            Granularity::Channel => ("channel", None),
            Granularity::Group(size) => ("group", Some(size)),
        };
        json!({
            "num_bits": self.bits.bits(),
            "type": "int",
            "symmetric": self.zero == Zero::Symmetric,
            "strategy": strategy,
            "group_size": group_size,
            "dynamic": false,
        })
    }

    /// Reads the `weights` of a config group; `path` names it in errors.
    ///
    /// # Errors
    /// [`CodesError::Argument`] for what is missing or is no int8 or int4 scheme.
    pub fn from_json(path: &str, value: &Value) -> Result<Self, CodesError> {
        let args = Args::of(path, value)?;
        args.expect("type", &json!("int"), "\"int\"")?;
        let bits = match args.get("num_bits").as_u64() {
            Some(8) => Bits::Int8,
            Some(4) => Bits::Int4,
            _ => return Err(args.refuse("num_bits", "4, 8")),
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
            bits,
            granularity,
            zero,
        })
    }
}

impl ActivationArgs {
    /// The JSON of a config group.
    pub fn to_json(&self) -> Value {
        let (strategy, group_size) = match self {
            Self::Token => ("token", None),
            Self::Group(size) => ("group", Some(*size)),
        };
        json!({
            "num_bits": 8,
            "type": "int",
            "symmetric": true,
            "strategy": strategy,
            "group_size": group_size,
            "dynamic": true,
        })
    }

    /// Reads the `input_activations` of a config group; `None` where they are not quantized.
    ///
    /// # Errors
    /// [`CodesError::Argument`] for what is not dynamic int8 by rows or by groups.
    pub fn from_json(path: &str, value: &Value) -> Result<Option<Self>, CodesError> {
        if value.is_null() {
            return Ok(None);
        }
        let args = Args::of(path, value)?;
        args.expect("type", &json!("int"), "\"int\"")?;
        args.expect("num_bits", &json!(8), "8")?;
        args.expect("symmetric", &json!(true), "true")?;
        args.expect("dynamic", &json!(true), "true")?;
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
            _ => Err(self.refuse("group_size", "at least 1")),
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
