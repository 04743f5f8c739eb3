//! `lapidary demo`: the whole workflow on images built in, as a recipe.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::Document;
use crate::optimize::global;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::recipe::{Place, Recipe, run as run_recipe};

/// The recipe.
const RECIPE: &str = include_str!("demo.toml");
/// Settings of the recipe, and of the quick one.
const QUICK: [(&str, &str); 4] = [
    ("epochs = 10", "epochs = 3"),
    ("epochs = 6", "epochs = 2"),
    ("epochs = 4", "epochs = 1"),
    ("fine_tune = 2", "fine_tune = 1"),
];

#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Fewer epochs: ready in half a minute, with less accuracy.
    #[arg(long)]
    quick: bool,
    /// Folder with other data, as for `train`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the models and the report go.
    #[arg(long, value_name = "DIR", default_value = "lapidary-demo")]
    out: PathBuf,
    /// auto, gpu, cpu, an index, or part of an adapter's or driver's name.
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceOption,
}

pub fn run(common: &CommonOptions, options: &DemoOptions) -> Result<(), Failure> {
    let document = document(options.quick);
    let mut shared = vec![("device", options.device.to_string())];
    if let Some(data) = &options.data {
        shared.push(("data", data.to_string_lossy().into_owned()));
    }
    let recipe = Recipe::of(document, &shared, false)?;
    let place = Place {
        model: None,
        work: &options.out,
        global: global(common),
    };
    let done = run_recipe(&recipe, &place)?;
    for (name, folder) in &done.models {
        eprintln!("{name}: {}", folder.display());
    }
    Ok(())
}

fn document(is_quick: bool) -> Document {
    let mut text = RECIPE.to_owned();
    if is_quick {
        for (full, quick) in QUICK {
            text = text.replace(full, quick);
        }
    }
    Document::of(Path::new("the demo's recipe").to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_holds_in_both_lengths() {
        for (full, _) in QUICK {
            assert!(RECIPE.contains(full), "{full}");
        }
        for is_quick in [false, true] {
            let recipe = Recipe::of(document(is_quick), &[], false);
            assert!(recipe.is_ok(), "{:?}", recipe.err());
        }
    }
}
