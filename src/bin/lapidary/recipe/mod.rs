//! Recipes: what is done to a network, stage by stage, in a TOML file.
//!
//! A `[[stage]]` says which by `stage`, what its result is called by `name`, and what it starts `from`: the result
//! of the stage before unless it says another. Its other keys are the long flags of the stage's command, checked by
//! the parser of the command line before anything runs. `data`, `device` and `seed` above the stages go to every
//! stage that takes them.

mod plan;
mod probe;
mod run;

use std::ops::Range;
use std::path::{Path, PathBuf};

use lapidary::io::near_names;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::config::{self, Document, Entry, Given, Settings};
use crate::options::Failure;

pub use plan::plan;
pub use run::{Place, RESOLVED_FILE, Receipt, STAGE_FILE, run};

/// A kind of stage, and the command that does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    command: &'static str,
    makes: Makes,
}

/// What a stage leaves in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Makes {
    /// A model from nothing.
    First,
    /// A model from a model.
    Model,
    /// A judgement of all models before.
    Report,
    /// A copy of a model elsewhere.
    Copy,
}

const fn kind(name: &'static str, command: &'static str, makes: Makes) -> Kind {
    Kind {
        name,
        command,
        makes,
    }
}

const KINDS: [Kind; 7] = [
    kind("train", "train", Makes::First),
    kind("prune", "prune", Makes::Model),
    kind("quantize", "quantize", Makes::Model),
    kind("qat", "quantize", Makes::Model),
    kind("distill", "distill", Makes::Model),
    kind("evaluate", "bench", Makes::Report),
    kind("export", "convert", Makes::Copy),
];

/// Keys of a stage that are no flags.
const OF_STAGE: [&str; 4] = ["stage", "name", "from", "to"];
/// Keys above the stages.
const SHARED: [&str; 3] = ["data", "device", "seed"];
/// Flags that the recipe gives itself, and those of commands that write nothing.
const GIVEN: [&str; 6] = ["out", "checkpoint", "report", "config", "plan", "scan"];

/// A recipe whose every setting was checked.
pub struct Recipe {
    document: Document,
    stages: Vec<Stage>,
}

#[derive(Debug)]
struct Stage {
    /// Of its result, and of its folder.
    name: String,
    kind: Kind,
    /// The stage whose result it starts from; `None` for the model the recipe is given.
    from: Option<usize>,
    /// Where an export goes.
    to: Option<PathBuf>,
    /// Flags as the recipe has them.
    words: Vec<String>,
    /// All of them in the end.
    settings: Settings,
    /// Where the stage stands in the file, and its settings.
    span: Range<usize>,
    spans: Vec<(String, Range<usize>)>,
}

impl Recipe {
    /// Reads a file. `shared` are settings of the command line for all stages, which win over those of the file;
    /// `has_model` says whether there is a model to start from.
    pub fn read(file: &Path, shared: &[(&str, String)], has_model: bool) -> Result<Self, Failure> {
        Self::of(Document::read(file)?, shared, has_model)
    }

    /// The same of a text from elsewhere.
    pub fn of(
        document: Document,
        shared: &[(&str, String)],
        has_model: bool,
    ) -> Result<Self, Failure> {
        let table = document.table()?;
        let mut top = document.entries_besides(&table, &["stage"])?;
        for entry in &top {
            if !SHARED.contains(&entry.key.as_str()) {
                let near = near(&entry.key, SHARED.into_iter().chain(["stage"]));
                let message = format!(
                    "`{}` is no key of a recipe{near}; allowed: data, device, seed and [[stage]] tables",
                    entry.key.replace('-', "_")
                );
                return Err(document.wrong(&entry.span, &message));
            }
        }
        for (key, value) in shared {
            top.retain(|entry| entry.key != *key);
            top.push(Entry::new(key, 0..0, Given::One(value.clone())));
        }
        let mut stages = Vec::new();
        let tables = match table
            .get("stage")
            .map(|value| (value.get_ref(), value.span()))
        {
            Some((DeValue::Array(tables), _)) if !tables.is_empty() => tables,
            Some((_, span)) => {
                return Err(document.wrong(&span, "`stage` is no list of tables: write [[stage]]"));
            }
            None => {
                return Err(
                    document.wrong(&(0..0), "there is no [[stage]]: a recipe has at least one")
                );
            }
        };
        for value in tables.iter() {
            let DeValue::Table(table) = value.get_ref() else {
                return Err(document.wrong(&value.span(), "a stage is a table: write [[stage]]"));
            };
            let reader = Reader {
                document: &document,
                before: &stages,
                shared: &top,
                has_model,
            };
            let stage = reader.stage(table, &value.span())?;
            stages.push(stage);
        }
        drop(table);
        Ok(Self { document, stages })
    }

    /// What failed in a stage, with the stage, and for what was wrong in the file its line: that of the setting whose
    /// value the failure tells of (`learning rate = -1; ..`), else that of the stage.
    fn failed(&self, stage: &Stage, failure: Failure) -> Failure {
        let Failure::Usage(text) = &failure else {
            return failure.in_stage(&stage.name);
        };
        let told = text.split_once(" = ").map_or("", |(what, _)| what);
        let is_told = |key: &str| {
            let before = told.strip_suffix(&key.replace('-', " "));
            before.is_some_and(|before| before.is_empty() || before.ends_with(' '))
        };
        let setting = stage.spans.iter().find(|(key, _)| is_told(key));
        match setting {
            Some((key, span)) => {
                let key = key.replace('-', "_");
                let message = format!("`{key}` of stage {}: {text}", stage.name);
                self.document.wrong(span, &message)
            }
            None => {
                let message = format!("stage {}: {text}", stage.name);
                self.document.wrong(&stage.span, &message)
            }
        }
    }

    /// The recipe with every setting of every stage, those by default too: a recipe for the same.
    pub fn resolved(&self) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            let quoted = |value: &str| Value::from(value).to_string();
            let mut lines = vec![
                "[[stage]]".to_owned(),
                format!("stage = {}", quoted(stage.kind.name)),
                format!("name = {}", quoted(&stage.name)),
            ];
            let from = stage.from.and_then(|from| self.stages.get(from));
            if let Some(from) = from.filter(|_| stage.kind.makes != Makes::Report) {
                lines.push(format!("from = {}", quoted(&from.name)));
            }
            if let Some(to) = &stage.to {
                lines.push(format!("to = {}", quoted(&to.to_string_lossy())));
            }
            let settings = stage.settings.toml();
            let is_own = |line: &&str| {
                let key = line.split(" = ").next().unwrap_or_default();
                !GIVEN.contains(&key)
            };
            lines.extend(settings.lines().filter(is_own).map(str::to_owned));
            text.push_str(&lines.join("\n"));
            text.push_str("\n\n");
        }
        text
    }
}

/// What a stage is read with.
struct Reader<'a> {
    document: &'a Document,
    before: &'a [Stage],
    shared: &'a [Entry],
    has_model: bool,
}

impl Reader<'_> {
    fn stage(&self, table: &DeTable<'_>, span: &Range<usize>) -> Result<Stage, Failure> {
        let document = self.document;
        let kinds: Vec<Kind> = KINDS
            .into_iter()
            .filter(|one| config::exists(one.command))
            .collect();
        let names: Vec<&str> = kinds.iter().map(|one| one.name).collect();
        let Some((kind_name, kind_span)) = self.text(table, "stage")? else {
            let message = format!(
                "the stage says not what it is: stage = {}",
                names.join(" | ")
            );
            return Err(document.wrong(span, &message));
        };
        let Some(kind) = kinds.iter().copied().find(|one| one.name == kind_name) else {
            let message = format!(
                "stage = {kind_name:?}{}; allowed: {}",
                near(&kind_name, names.iter().copied()),
                names.join(", ")
            );
            return Err(document.wrong(&kind_span, &message));
        };
        let name = match self.text(table, "name")? {
            None => format!("{}-{}", self.before.len() + 1, kind.name),
            Some((name, span)) => {
                let fits = |c: char| c.is_ascii_alphanumeric() || "-_.%".contains(c);
                if name.is_empty() || name.starts_with('.') || !name.chars().all(fits) {
                    let message = format!("name = {name:?}; allowed: letters, digits, - _ . %");
                    return Err(document.wrong(&span, &message));
                }
                if run::FILES.contains(&name.as_str()) {
                    let message =
                        format!("name = {name:?} is the name of a file that the recipe keeps");
                    return Err(document.wrong(&span, &message));
                }
                name
            }
        };
        if self.before.iter().any(|one| one.name == name) {
            let message = format!("there are two stages called {name:?}");
            return Err(document.wrong(span, &message));
        }
        let from = self.from(table, kind, span)?;
        let to = match self.text(table, "to")? {
            Some((_, span)) if kind.makes != Makes::Copy => {
                return Err(document.wrong(&span, "`to` is a key of export alone"));
            }
            to => to.map(|(path, _)| PathBuf::from(path)),
        };
        let mut entries = document.entries_besides(table, &OF_STAGE)?;
        for entry in &entries {
            if GIVEN.contains(&entry.key.as_str()) {
                let message = format!(
                    "`{}` is given by the recipe itself, or is of a command that writes nothing",
                    entry.key
                );
                return Err(document.wrong(&entry.span, &message));
            }
        }
        for entry in self.shared {
            if config::has_flag(kind.command, &entry.key)
                && !entries.iter().any(|one| one.key == entry.key)
            {
                entries.push(entry.clone());
            }
        }
        let mut words = Vec::new();
        for entry in &entries {
            words.extend(document.arguments_of(kind.command, entry)?);
        }
        let places: &[&str] = match kind.makes {
            Makes::First => &[],
            Makes::Model | Makes::Copy => &["IN", "OUT"],
            Makes::Report => &["IN"],
        };
        let whole: Vec<String> = places
            .iter()
            .map(|&place| place.to_owned())
            .chain(words.iter().cloned())
            .collect();
        let settings = config::resolved(kind.command, &whole)
            .map_err(|error| document.wrong_together(span, &error))?;
        if kind.name == "qat" && settings.get("qat_epochs") == Some(&0.into()) {
            let message =
                "a qat stage trains: qat_epochs = 1 or more; stage = \"quantize\" does not";
            return Err(document.wrong(span, message));
        }
        Ok(Stage {
            name,
            kind,
            from,
            to,
            words,
            settings,
            span: span.clone(),
            spans: entries.into_iter().map(|one| (one.key, one.span)).collect(),
        })
    }

    /// What a stage starts from.
    fn from(
        &self,
        table: &DeTable<'_>,
        kind: Kind,
        span: &Range<usize>,
    ) -> Result<Option<usize>, Failure> {
        let models = || {
            let all = self.before.iter().enumerate();
            all.filter(|(_, one)| matches!(one.kind.makes, Makes::First | Makes::Model))
        };
        let named = self.text(table, "from")?;
        if let Some((name, span)) = named {
            if let Some((index, _)) = models().find(|(_, one)| one.name == name) {
                return Ok(Some(index));
            }
            let names: Vec<&str> = models().map(|(_, one)| one.name.as_str()).collect();
            let message = format!(
                "from = {name:?} is no model of a stage before{}; there are: {}",
                near(&name, names.iter().copied()),
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            );
            return Err(self.document.wrong(&span, &message));
        }
        let last = models().next_back().map(|(index, _)| index);
        let needs_model = matches!(kind.makes, Makes::Model | Makes::Copy | Makes::Report);
        if needs_model && last.is_none() && !self.has_model {
            let message = format!(
                "{} has no model to start from: name one on the command line, or begin with stage = \"train\"",
                kind.name
            );
            return Err(self.document.wrong(span, &message));
        }
        Ok(last.filter(|_| needs_model))
    }

    fn text(
        &self,
        table: &DeTable<'_>,
        key: &str,
    ) -> Result<Option<(String, Range<usize>)>, Failure> {
        let Some(value) = table.get(key) else {
            return Ok(None);
        };
        match value.get_ref() {
            DeValue::String(text) => Ok(Some((text.to_string(), value.span()))),
            other => {
                let message = format!("`{key}` is a {}; allowed: a string", other.type_str());
                Err(self.document.wrong(&value.span(), &message))
            }
        }
    }
}

/// `; did you mean ..?` where something is near.
fn near<'a>(given: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = near_names(given, names).join(" or ");
    if near.is_empty() {
        String::new()
    } else {
        format!("; did you mean {near}?")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(text: &str, has_model: bool) -> Result<Recipe, String> {
        let document = Document::of(PathBuf::from("r.toml"), text.to_owned());
        Recipe::of(document, &[], has_model).map_err(|failure| failure.to_string())
    }

    #[test]
    fn stages_follow_each_other_unless_they_say_otherwise() {
        let text = "seed = 3\n[[stage]]\nstage = \"train\"\nname = \"base\"\nmodel = \"mlp\"\n\
                    [[stage]]\nstage = \"evaluate\"\nno_speed = true\n";
        let recipe = recipe(text, false).unwrap_or_else(|message| panic!("{message}"));
        let [train, evaluate] = &recipe.stages[..] else {
            panic!("{:?}", recipe.stages)
        };
        assert_eq!((train.name.as_str(), train.from), ("base", None));
        assert_eq!(
            (evaluate.name.as_str(), evaluate.from),
            ("2-evaluate", Some(0))
        );
        assert!(train.words.contains(&"--seed=3".to_owned()));
        assert_eq!(train.settings.get("epochs"), Some(&6.into()));
        assert_eq!(evaluate.words, ["--no-speed", "--seed=3"]);
    }

    #[test]
    fn with_every_setting_it_is_the_same_recipe() {
        for text in [
            include_str!("../demo.toml"),
            include_str!("../../../../examples/recipe.toml"),
        ] {
            let first = recipe(text, false).unwrap_or_else(|message| panic!("{message}"));
            let whole = first.resolved();
            assert!(whole.contains("learning_rate"), "{whole}");
            let again =
                recipe(&whole, false).unwrap_or_else(|message| panic!("{message}\n{whole}"));
            assert_eq!(again.resolved(), whole);
        }
    }

    #[test]
    fn what_fails_in_a_stage_is_told_with_the_line_of_its_setting() {
        let text = "[[stage]]\nstage = \"train\"\nname = \"b\"\nmodel = \"mlp\"\nlearning_rate = -1\nseed = 4\n";
        let recipe = recipe(text, false).unwrap_or_else(|message| panic!("{message}"));
        let failed = |failure| recipe.failed(&recipe.stages[0], failure).to_string();
        let usage = |text: &str| failed(Failure::Usage(text.to_owned()));
        assert_eq!(
            usage("pruning: learning rate = -1; allowed: above 0"),
            "r.toml:5: `learning_rate` of stage b: pruning: learning rate = -1; allowed: above 0"
        );
        assert_eq!(
            usage("relearning rate = -1; allowed: above 0"),
            "r.toml:1: stage b: relearning rate = -1; allowed: above 0"
        );
        assert_eq!(usage("no samples"), "r.toml:1: stage b: no samples");
        assert_eq!(failed(Failure::Device("lost".to_owned())), "stage b: lost");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_what_is_near() {
        let refused = |text: &str| recipe(text, false).err().unwrap_or_default();
        let cases = [
            ("", "r.toml:1: there is no [[stage]]"),
            (
                "sed = 1\n[[stage]]\n",
                "r.toml:1: `sed` is no key of a recipe; did you mean seed?",
            ),
            ("[[stage]]\nname = \"a\"\n", "the stage says not what it is"),
            (
                "[[stage]]\nstage = \"trian\"\n",
                "r.toml:2: stage = \"trian\"; did you mean train?",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nepoch = 2\n",
                "r.toml:4: `epoch` is no setting; near: epochs",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nepochs = \"two\"\n",
                "r.toml:4: `epochs`: invalid value 'two'",
            ),
            ("[[stage]]\nstage = \"train\"\n", "--model <MODEL>"),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nout = \"x\"\n",
                "r.toml:4: `out` is given by the recipe itself",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nlearning_rate = nan\n",
                "r.toml:4: `learning_rate` is nan; allowed: finite numbers",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nlearning_rate = -inf\n",
                "r.toml:4: `learning_rate` is -inf; allowed: finite numbers",
            ),
            (
                "[[stage]]\nstage = \"train\"\nname = \"b\"\nmodel = \"mlp\"\n[[stage]]\nstage = \"qat\"\nscheme = \"int8\"\n",
                "r.toml:5: a qat stage trains: qat_epochs = 1 or more",
            ),
            (
                "[[stage]]\nstage = \"evaluate\"\n",
                "evaluate has no model to start from",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nname = \"../x\"\n",
                "allowed: letters, digits",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\nname = \"resolved.toml\"\n",
                "r.toml:4: name = \"resolved.toml\" is the name of a file",
            ),
            (
                "[[stage]]\nstage = \"prune\"\nfrom = \"nope\"\nsparsity = \"50%\"\n",
                "r.toml:3: from = \"nope\" is no model of a stage before; there are: none",
            ),
            (
                "[[stage]]\nstage = \"train\"\nmodel = \"mlp\"\n[[stage]]\nstage = \"prune\"\nsparsity = \"50%\"\nscan = true\n",
                "r.toml:7: `scan` is given by the recipe itself, or is of a command that writes nothing",
            ),
        ];
        for (text, expected) in cases {
            let found = refused(text);
            assert!(found.contains(expected), "{text:?} gives {found:?}");
        }
    }
}
