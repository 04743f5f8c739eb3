//! `lapidary demo`: the whole workflow on images built in, as a recipe.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::Document;
use crate::optimize::global;
use crate::options::{CommonOptions, DeviceOption, Failure};
use crate::recipe::{Place, Recipe, run as run_recipe};

/// The recipe.
const RECIPE: &str = include_str!("demo.toml");
/// Epochs of the recipe, and of the quick one.
const QUICK: [(&str, &str); 1] = [("epochs = 6", "epochs = 2")];

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
    let mut text = RECIPE.to_owned();
    if options.quick {
        for (full, quick) in QUICK {
            text = text.replace(full, quick);
        }
    }
    let document = Document::of(Path::new("the demo's recipe").to_owned(), text);
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
