//! The file of a search: `[train]` with settings that stay, as in the file that `train` takes, and `[space]`
//! with a list or a range for each setting that is searched.

use std::ops::Range;
use std::path::Path;

use lapidary::io::near_names;
use lapidary::search::{Dimension, Domain, Scale, Space, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{self, Document, Entry, Given, scalar};
use crate::options::Failure;
use crate::train::TrainCommand;

/// Settings that name files to write: trials would write over each other.
const WRITTEN: [&str; 5] = ["config", "out", "checkpoint", "log", "svg"];
/// Settings of `train` that a search has of its own.
const OF_THE_SEARCH: [&str; 1] = ["validation"];
/// Settings on which all trials stand.
const SHARED: [&str; 2] = ["data", "device"];
/// What a range may say.
const RANGES: [&str; 6] = [
    "uniform",
    "log_uniform",
    "integer",
    "log_integer",
    "choice",
    "points",
];

/// A search, and how a proposal becomes words of a command line.
pub struct SpaceFile {
    document: Document,
    /// Words of the settings that stay.
    pub fixed: Vec<String>,
    pub space: Space,
    /// For each dimension of choices the words of each, else none.
    choices: Vec<Vec<Vec<String>>>,
}

impl SpaceFile {
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let document = Document::read(file)?;
        let table = document.table()?;
        let mut fixed = Vec::new();
        let mut fixed_keys = Vec::new();
        let mut dimensions = Vec::new();
        let mut choices = Vec::new();
        for (name, value) in &table {
            let table = match (name.get_ref().as_ref(), value.get_ref()) {
                ("train" | "space", DeValue::Table(table)) => table,
                (other, _) => {
                    let message = format!("`{other}`; allowed: the tables [train] and [space]");
                    return Err(document.wrong(&name.span(), &message));
                }
            };
            if name.get_ref() == "train" {
                for entry in document.entries(table)? {
                    refuse_key(&document, &entry.key, &entry.span, &WRITTEN)?;
                    refuse_key(&document, &entry.key, &entry.span, &OF_THE_SEARCH)?;
                    fixed.extend(document.arguments(&entry)?);
                    fixed_keys.push(entry.key);
                }
                continue;
            }
            for (name, value) in table {
                let key = name.get_ref().replace('_', "-");
                refuse_key(&document, &key, &name.span(), &WRITTEN)?;
                refuse_key(&document, &key, &name.span(), &OF_THE_SEARCH)?;
                refuse_key(&document, &key, &name.span(), &SHARED)?;
                let one = Searched {
                    document: &document,
                    key: &key,
                    span: name.span(),
                };
                let (domain, words) = one.domain(value.get_ref())?;
                dimensions.push((key, name.span(), domain));
                choices.push(words);
            }
        }
        let twice = |(key, ..): &&(String, Range<usize>, Domain)| fixed_keys.contains(key);
        if let Some((key, span, _)) = dimensions.iter().find(twice) {
            let message = format!("`{}` is in [train] too", key.replace('-', "_"));
            return Err(document.wrong(span, &message));
        }
        let dimensions = dimensions.into_iter().map(|(key, _, domain)| Dimension {
            name: key.replace('-', "_"),
            domain,
        });
        let space = Space::new(dimensions.collect())
            .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
        drop(table);
        Ok(Self {
            document,
            fixed,
            space,
            choices,
        })
    }

    /// The settings of some trial.
    pub fn example(&self) -> Result<TrainCommand, Failure> {
        let dimensions = self.space.dimensions().iter();
        let lowest = dimensions.map(|one| match one.domain {
            Domain::Choice(_) => Value::Choice(0),
            Domain::Integer { low, .. } => Value::Integer(low),
            Domain::Real { low, .. } => Value::Real(low),
        });
        self.settings(&lowest.collect::<Vec<Value>>())
    }

    /// The settings of a trial.
    pub fn settings(&self, values: &[Value]) -> Result<TrainCommand, Failure> {
        let dimensions = self.space.dimensions().iter();
        let mut words = self.fixed.clone();
        for ((one, choices), value) in dimensions.zip(&self.choices).zip(values) {
            let key = one.name.replace('_', "-");
            match *value {
                Value::Choice(index) => {
                    words.extend(choices.get(index).cloned().unwrap_or_default())
                }
                Value::Integer(value) => words.push(format!("--{key}={value}")),
                Value::Real(value) => words.push(format!("--{key}={value}")),
            }
        }
        config::train_command(words).map_err(|error| self.document.about(&error))
    }
}

fn refuse_key(
    document: &Document,
    key: &str,
    span: &Range<usize>,
    refused: &[&str],
) -> Result<(), Failure> {
    if !refused.contains(&key) {
        return Ok(());
    }
    let why = if SHARED.contains(&key) {
        "all trials share it; it belongs to [train]"
    } else if OF_THE_SEARCH.contains(&key) {
        "the search judges by a part that its own flag sets aside"
    } else {
        "a search writes only what its own flags name"
    };
    Err(document.wrong(span, &format!("`{key}`: {why}")))
}

/// A setting that is searched.
struct Searched<'a> {
    document: &'a Document,
    /// With `-`.
    key: &'a str,
    span: Range<usize>,
}

impl Searched<'_> {
    fn wrong(&self, message: &str) -> Failure {
        let message = format!("`{}`: {message}", self.key.replace('-', "_"));
        self.document.wrong(&self.span, &message)
    }

    /// The words for one value, which the parser of the command line has to take.
    fn words(&self, given: Given) -> Result<Vec<String>, Failure> {
        self.document
            .arguments(&Entry::new(self.key, self.span.clone(), given))
    }

    fn domain(&self, value: &DeValue<'_>) -> Result<(Domain, Vec<Vec<String>>), Failure> {
        match value {
            DeValue::Array(values) => self.choices(values),
            DeValue::Table(table) => self.range(table),
            _ => Err(self.wrong(
                "takes a list of values, or one of { uniform = [low, high] }, { log_uniform = .. }, { integer = .. }, { log_integer = .. }",
            )),
        }
    }

    fn choices(
        &self,
        values: &[Spanned<DeValue<'_>>],
    ) -> Result<(Domain, Vec<Vec<String>>), Failure> {
        let (mut names, mut words) = (Vec::new(), Vec::new());
        for value in values {
            let (name, given) = match value.get_ref() {
                DeValue::Boolean(value) => (value.to_string(), Given::Flag(*value)),
                DeValue::Array(values) => {
                    let values = values.iter().map(|value| scalar(value.get_ref()));
                    let values: Option<Vec<String>> = values.collect();
                    let values = values.ok_or_else(|| self.wrong("a choice in a choice"))?;
                    (values.join(","), Given::Many(values))
                }
                value => {
                    let text = scalar(value).ok_or_else(|| {
                        self.wrong("choices are strings, numbers, true, false, or lists of them")
                    })?;
                    (text.clone(), Given::One(text))
                }
            };
            names.push(name);
            words.push(self.words(given)?);
        }
        Ok((Domain::Choice(names), words))
    }

    fn range(&self, table: &DeTable<'_>) -> Result<(Domain, Vec<Vec<String>>), Failure> {
        let mut points = None;
        let mut range = None;
        for (name, value) in table {
            let name = name.get_ref().as_ref();
            if !RANGES.contains(&name) {
                let near = near_names(name, RANGES.into_iter()).join(", ");
                let near = if near.is_empty() {
                    RANGES.join(", ")
                } else {
                    near
                };
                return Err(self.wrong(&format!("`{name}` is no kind of range; near: {near}")));
            }
            if name == "points" {
                let number = scalar(value.get_ref()).and_then(|text| text.parse().ok());
                points = Some(number.ok_or_else(|| self.wrong("points is a whole number"))?);
            } else if range.replace((name, value)).is_some() {
                return Err(self.wrong("has two ranges"));
            }
        }
        let Some((kind, value)) = range else {
            return Err(self.wrong("has no range"));
        };
        let DeValue::Array(ends) = value.get_ref() else {
            return Err(self.wrong(&format!("{kind} takes a list")));
        };
        if kind == "choice" {
            return self.choices(ends);
        }
        let texts: Vec<String> = ends
            .iter()
            .filter_map(|end| scalar(end.get_ref()))
            .collect();
        let [low, high] = &texts[..] else {
            return Err(self.wrong(&format!("{kind} takes two numbers, [low, high]")));
        };
        let scale = match kind {
            "log_uniform" | "log_integer" => Scale::Log,
            _ => Scale::Linear,
        };
        let number = |text: &String| format!("`{text}` is no number that {kind} can end with");
        let domain = if kind.ends_with("integer") {
            let end = |text: &String| text.parse().map_err(|_| self.wrong(&number(text)));
            Domain::Integer {
                low: end(low)?,
                high: end(high)?,
                scale,
                points,
            }
        } else {
            let end = |text: &String| text.parse().map_err(|_| self.wrong(&number(text)));
            Domain::Real {
                low: end(low)?,
                high: end(high)?,
                scale,
                points,
            }
        };
        for end in [low, high] {
            self.words(Given::One(end.clone()))?;
        }
        Ok((domain, Vec::new()))
    }
}
