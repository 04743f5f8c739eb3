//! What a recipe would do, and for how long; nothing of it is kept.

use lapidary::models::Network as _;
use serde::Serialize;

use super::probe::{Estimate, Prober, StandIn};
use super::run::{folder, inputs, is_there, receipt};
use super::{Makes, Place, Recipe};
use crate::models::{data_folder, open_model};
use crate::options::{CommonOptions, Failure};
use crate::output::{bytes, number, print, print_json, table};
use crate::trained::ModelOptions;

#[derive(Debug, Serialize)]
struct Line {
    stage: &'static str,
    name: String,
    from: String,
    network: String,
    /// Of the tensors in the file.
    bytes: Option<u64>,
    /// It was made before by the same settings from the same input, and will be left alone.
    is_there: bool,
    /// `None` where it takes no time worth telling.
    seconds: Option<f64>,
    how: String,
    settings: String,
}

#[derive(Debug, Serialize)]
struct Plan {
    device: String,
    seconds: f64,
    stages: Vec<Line>,
}

/// Prints what would be done, and touches nothing.
pub fn plan(common: &CommonOptions, recipe: &Recipe, place: &Place<'_>) -> Result<(), Failure> {
    let prober = Prober::new(common);
    let given = match place.model {
        None => None,
        Some(path) => {
            let options = ModelOptions::default();
            let folder = data_folder(path, &options)?;
            let data = prober.data(folder.as_deref())?;
            Some(StandIn {
                model: open_model(path, &options, &data.train)?,
                data: folder,
            })
        }
    };
    let mut lines = Vec::new();
    let mut models: Vec<Option<StandIn>> = Vec::new();
    let mut all_there: Vec<bool> = Vec::new();
    for stage in &recipe.stages {
        eprintln!("looking at {} {}", stage.kind.name, stage.name);
        let from = match stage.from {
            Some(from) => models.get(from).and_then(Option::as_ref),
            None => given.as_ref(),
        };
        let needed = || {
            from.ok_or_else(|| {
                Failure::Usage(format!("stage {}: no model to start from", stage.name))
            })
        };
        let has_inputs = stage.from.is_none_or(|from| all_there[from]);
        let there = has_inputs && stage.kind.makes != Makes::Report && {
            let made = receipt(stage, &inputs(recipe, stage, place)?)?;
            is_there(&made, stage, &folder(stage, place.work))?
        };
        let (estimate, model) = match stage.kind.makes {
            Makes::First => {
                let made = prober.train(stage);
                let (estimate, model) = made.map_err(|failure| recipe.failed(stage, failure))?;
                (estimate, Some(model))
            }
            Makes::Model => {
                let made = prober.make(stage, needed()?);
                let (estimate, model) = made.map_err(|failure| recipe.failed(stage, failure))?;
                (estimate, Some(model))
            }
            Makes::Report => {
                let count = models.iter().flatten().count() + usize::from(given.is_some());
                (prober.judge(stage, (needed()?, count))?, None)
            }
            Makes::Copy => {
                let how = "a copy".to_owned();
                (Estimate { seconds: None, how }, from.cloned())
            }
        };
        // A copy has the size that its kind of file gives it.
        let sized = model.as_ref().filter(|_| stage.kind.makes != Makes::Copy);
        let sizes = sized.map(|one| one.model.stored_bytes());
        let sizes = sizes.transpose()?;
        lines.push(Line {
            stage: stage.kind.name,
            name: stage.name.clone(),
            from: match (stage.kind.makes, stage.from) {
                (Makes::First, _) => String::new(),
                (Makes::Report, _) => "all before".to_owned(),
                (_, Some(from)) => recipe.stages[from].name.clone(),
                (_, None) => {
                    let path = place.model.map(|one| one.display().to_string());
                    path.unwrap_or_default()
                }
            },
            network: model
                .as_ref()
                .map_or_else(String::new, |one| one.model.network().describe()),
            bytes: sizes.map(|sizes| sizes.iter().map(|(_, bytes)| bytes).sum()),
            is_there: there,
            seconds: estimate.seconds.filter(|_| !there),
            how: match there {
                true => "is there already".to_owned(),
                false => estimate.how,
            },
            settings: stage.words.join(" "),
        });
        all_there.push(there);
        models.push(model.filter(|_| stage.kind.makes != Makes::Copy));
    }
    let plan = Plan {
        device: prober.devices(),
        seconds: lines.iter().filter_map(|line| line.seconds).sum(),
        stages: lines,
    };
    if common.json {
        print_json(&plan)
    } else {
        print(&text(&plan))
    }
}

fn text(plan: &Plan) -> String {
    let mut rows = table(&[
        "stage",
        "name",
        "from",
        "network",
        "bytes of weights",
        "seconds",
        "how known",
        "settings",
    ]);
    for line in &plan.stages {
        rows.add_row([
            line.stage.into(),
            line.name.clone().into(),
            line.from.clone().into(),
            line.network.clone().into(),
            number(line.bytes.map_or_else(String::new, bytes)),
            number(
                line.seconds
                    .map_or_else(String::new, |seconds| format!("about {seconds:.1}")),
            ),
            line.how.clone().into(),
            line.settings.clone().into(),
        ]);
    }
    format!(
        "{rows}\n\nabout {:.0} s in all on {}, by the first steps of each stage, taken on networks with first values; \
         nothing was touched",
        plan.seconds, plan.device
    )
}
