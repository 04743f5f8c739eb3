//! `lapidary optimize`: a model made smaller by a recipe, or within limits.

pub mod goal;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::recipe::{self, Place, Recipe};
use crate::trained::ModelOptions;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lapidary optimize --recipe examples/recipe.toml --plan\n  \
    lapidary optimize mlp.safetensors --recipe r.toml --work target/work\n  \
    lapidary optimize mlp.safetensors --goal size --max-drop 0.5% --work target/goal"
)]
pub struct OptimizeOptions {
    /// Folder of a model, or file of `train --out`; a recipe that trains needs none.
    #[arg(value_name = "MODEL")]
    input: Option<PathBuf>,
    #[command(flatten)]
    network: ModelOptions,
    /// TOML file of stages.
    #[arg(long, value_name = "R.toml", conflicts_with_all = ["goal", "max_drop", "max_size", "max_ms"], required_unless_present = "goal")]
    recipe: Option<PathBuf>,
    /// Print what the recipe would do, with sizes, and seconds by the first steps of each stage; touch nothing.
    #[arg(long, requires = "recipe")]
    plan: bool,
    /// What is best among the versions within the limits.
    #[arg(long, value_enum)]
    goal: Option<Goal>,
    /// Most accuracy lost, of the whole: 0.5% or 0.005.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value = "0.5%")]
    max_drop: f64,
    /// Most bytes, as a share of the model's.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_size: Option<f64>,
    /// Most milliseconds for one sample, by the median pass.
    #[arg(long, value_name = "MS", value_parser = positive)]
    max_ms: Option<f64>,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "lapidary-work")]
    work: PathBuf,
    /// Folder with the data, as for `train`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Seed of everything random.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceOption>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// The most accurate.
    Accuracy,
    /// The fastest with one sample.
    Latency,
    /// The smallest.
    Size,
}

pub fn run(common: &CommonOptions, options: &OptimizeOptions) -> Result<(), Failure> {
    let file = match (&options.recipe, options.goal, &options.input) {
        (Some(file), ..) => file,
        (None, Some(goal), Some(input)) => return goal::run(common, options, (goal, input)),
        (None, ..) => {
            return Err(Failure::Usage(
                "optimize: name a model to reach the goal with".to_owned(),
            ));
        }
    };
    let mut shared = Vec::new();
    if let Some(data) = &options.data {
        shared.push(("data", data.to_string_lossy().into_owned()));
    }
    if let Some(seed) = options.seed {
        shared.push(("seed", seed.to_string()));
    }
    if let Some(device) = &options.device {
        shared.push(("device", device.to_string()));
    }
    let recipe = Recipe::read(file, &shared, options.input.is_some())?;
    let place = Place {
        model: options.input.as_deref(),
        work: &options.work,
        global: global(common),
    };
    if options.plan {
        return recipe::plan(common, &recipe, &place);
    }
    recipe::run(&recipe, &place).map(|_| ())
}

/// Words of the flags that every command has, for steps of this one.
pub fn global(common: &CommonOptions) -> Vec<String> {
    let mut words = Vec::new();
    if common.json {
        words.push("--json".to_owned());
    }
    if let Some(folder) = &common.shaders {
        words.push(format!("--shaders={}", folder.display()));
    }
    if common.cooperative_matrix {
        words.push("--cooperative-matrix".to_owned());
    }
    words
}

/// `0.5%` or `0.005`, from 0 to 1.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&(value * unit)) => Ok(value * unit),
        Ok(_) | Err(_) => Err("allowed: a share such as 0.5% or 0.005, from 0 to 1".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        Ok(_) | Err(_) => Err("allowed: milliseconds, more than 0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_are_percentages_or_parts_of_one() {
        assert_eq!(share("50%"), Ok(0.5));
        assert_eq!(share("0.3"), Ok(0.3));
        for wrong in ["", "%", "101%", "-1", "nan", "2"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
