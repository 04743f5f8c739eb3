//! Settings from TOML files. A key is a long flag of `lapidary train`, written with `_` or `-`, and is
//! checked by the parser of the command line itself, so that a new flag is a key at once.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches as _, Id};
use lapidary::io::{near_names, read_text};
use serde::Serialize;
use serde_json::{Number, Value};
use toml::de::{DeTable, DeValue};

use crate::options::Failure;
use crate::train::TrainCommand;

/// The subcommand whose flags are keys.
const TRAIN: &str = "train";

/// Flags that say where things go or come from in one run and not what is trained: no part of the
/// settings kept with a result.
const OF_ONE_RUN: [&str; 7] = [
    "config",
    "out",
    "checkpoint",
    "log",
    "svg",
    "device",
    "max_ram",
];

/// A TOML file.
pub struct Document {
    file: PathBuf,
    text: String,
}

/// A setting of a file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// With `-`, as the flag.
    pub key: String,
    pub span: Range<usize>,
    pub given: Given,
}

/// What stands behind the `=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    Flag(bool),
    One(String),
    Many(Vec<String>),
}

impl Given {
    fn words(&self) -> &[String] {
        match self {
            Self::Flag(_) => &[],
            Self::One(word) => std::slice::from_ref(word),
            Self::Many(words) => words,
        }
    }
}

/// Whether a flag that takes a real number is given one that is none, or has no end.
fn is_no_number(flag: &Arg, word: &str) -> bool {
    let kind = flag.get_value_parser().type_id();
    let is_real = kind == TypeId::of::<f64>() || kind == TypeId::of::<f32>();
    is_real && word.parse::<f64>().is_ok_and(|value| !value.is_finite())
}

impl Entry {
    /// A setting of a file, by its flag.
    pub fn new(key: &str, span: Range<usize>, given: Given) -> Self {
        Self {
            key: key.to_owned(),
            span,
            given,
        }
    }
}

impl Document {
    /// A text from elsewhere, with what errors call it.
    pub fn of(file: PathBuf, text: String) -> Self {
        Self { file, text }
    }

    pub fn read(file: &Path) -> Result<Self, Failure> {
        let text = read_text(file).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self {
            file: file.to_owned(),
            text,
        })
    }

    /// The table of the whole file.
    pub fn table(&self) -> Result<DeTable<'_>, Failure> {
        match DeTable::parse(&self.text) {
            Ok(table) => Ok(table.into_inner()),
            Err(error) => {
                let span = error.span().unwrap_or_default();
                Err(self.wrong(&span, error.message()))
            }
        }
    }

    /// Its name.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What is written in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// An error at a place of the file.
    pub fn wrong(&self, span: &Range<usize>, message: &str) -> Failure {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        Failure::Usage(format!("{}:{line}: {message}", self.file.display()))
    }

    /// The settings of a table.
    pub fn entries(&self, table: &DeTable<'_>) -> Result<Vec<Entry>, Failure> {
        self.entries_besides(table, &[])
    }

    /// The settings of a table but those of these names.
    pub fn entries_besides(
        &self,
        table: &DeTable<'_>,
        besides: &[&str],
    ) -> Result<Vec<Entry>, Failure> {
        let mut entries: Vec<Entry> = Vec::new();
        for (name, value) in table {
            if besides.contains(&name.get_ref().as_ref()) {
                continue;
            }
            let key = name.get_ref().replace('_', "-");
            let given = given(value.get_ref()).ok_or_else(|| {
                let kind = match value.get_ref() {
                    DeValue::Array(_) => "an array with arrays, tables or dates in it".to_owned(),
                    other => format!("a {}", other.type_str()),
                };
                let message = format!(
                    "`{}` is {kind}; allowed: a string, a number, true, false, or an array of them",
                    name.get_ref()
                );
                self.wrong(&name.span(), &message)
            })?;
            if entries.iter().any(|one| one.key == key) {
                let message = format!("`{}` is there twice, with `_` and with `-`", name.get_ref());
                return Err(self.wrong(&name.span(), &message));
            }
            entries.push(Entry {
                key,
                span: name.span(),
                given,
            });
        }
        Ok(entries)
    }

    /// The words a command line would have for a setting, each checked alone, so that what is wrong is
    /// said with its line.
    pub fn arguments(&self, entry: &Entry) -> Result<Vec<String>, Failure> {
        self.arguments_of(TRAIN, entry)
    }

    /// The same for any subcommand.
    pub fn arguments_of(&self, name: &'static str, entry: &Entry) -> Result<Vec<String>, Failure> {
        let train = subcommand(name);
        let shown = entry.key.replace('-', "_");
        let refuse = |message: String| Err(self.wrong(&entry.span, &message));
        let Some(flag) = flags(&train).find(|one| one.get_long() == Some(&entry.key)) else {
            let names = flags(&train).filter_map(Arg::get_long);
            let near = near_names(&entry.key, names).join(", ").replace('-', "_");
            return refuse(if near.is_empty() {
                format!("`{shown}` is no setting; `lapidary {name} --help` lists them")
            } else {
                format!("`{shown}` is no setting; near: {near}")
            });
        };
        let word = |value: &String| format!("--{}={value}", entry.key);
        let words: Vec<String> = match (flag.get_action(), &entry.given) {
            (ArgAction::SetTrue, Given::Flag(true)) => vec![format!("--{}", entry.key)],
            (ArgAction::SetTrue, Given::Flag(false)) => Vec::new(),
            (ArgAction::SetTrue, _) => return refuse(format!("`{shown}` takes true or false")),
            (_, Given::Flag(value)) => vec![word(&value.to_string())],
            (_, Given::One(value)) => vec![word(value)],
            (ArgAction::Append, Given::Many(values)) if !values.is_empty() => {
                values.iter().map(word).collect()
            }
            (ArgAction::Append, Given::Many(_)) => {
                return refuse(format!("`{shown}` is empty; leave it out instead"));
            }
            (_, Given::Many(_)) => return refuse(format!("`{shown}` takes one value")),
        };
        if let Some(value) = entry
            .given
            .words()
            .iter()
            .find(|one| is_no_number(flag, one))
        {
            return refuse(format!("`{shown}` is {value}; allowed: finite numbers"));
        }
        let alone = words.iter().cloned().map(OsString::from);
        match alone_allowed(name).try_get_matches_from(line(name, alone)) {
            Ok(_) => Ok(words),
            Err(error) => refuse(format!("`{shown}`: {}", said(&error))),
        }
    }

    /// An error of the parser of the command line about the settings at a place.
    pub fn wrong_together(&self, span: &Range<usize>, error: &clap::Error) -> Failure {
        self.wrong(span, &said(error))
    }

    /// Adds the file's name to an error about its settings together.
    pub fn about(&self, error: &clap::Error) -> Failure {
        Failure::Usage(format!("{}: {}", self.file.display(), said(error)))
    }
}

/// The command line with the settings of the file that `train` names. What both say, the command line
/// decides.
pub fn expand(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    // What this refuses, the parser proper refuses too, and says it better.
    let Ok(matches) = alone_allowed(TRAIN).try_get_matches_from(&arguments) else {
        return Ok(arguments);
    };
    let Some((TRAIN, matches)) = matches.subcommand() else {
        return Ok(arguments);
    };
    let Some(file) = matches.get_one::<PathBuf>("config") else {
        return Ok(arguments);
    };
    let document = Document::read(file)?;
    let train = subcommand(TRAIN);
    let mut words = Vec::new();
    for entry in document.entries(&document.table()?)? {
        let made = document.arguments(&entry)?;
        let flag = flags(&train).find(|flag| flag.get_long() == Some(&entry.key));
        let source = flag.and_then(|flag| matches.value_source(flag.get_id().as_str()));
        if source != Some(ValueSource::CommandLine) {
            words.extend(made.into_iter().map(OsString::from));
        }
    }
    let end = arguments.iter().position(|word| word == "--");
    let end = end.unwrap_or(arguments.len());
    arguments.splice(end..end, words);
    Ok(arguments)
}

/// What the words of a command line after `lapidary train` ask for.
pub fn train_command(words: Vec<String>) -> Result<TrainCommand, clap::Error> {
    let words = line(TRAIN, words.into_iter().map(OsString::from));
    let matches = crate::command().try_get_matches_from(words)?;
    let Some((TRAIN, matches)) = matches.subcommand() else {
        return Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand));
    };
    let mut options = TrainCommand::from_arg_matches(matches)?;
    options.settings = Settings::of(TRAIN, matches);
    Ok(options)
}

/// What the words of a command line after `lapidary NAME` ask for, checked together: all settings of the
/// subcommand in the end.
pub fn resolved(name: &str, words: &[String]) -> Result<Settings, clap::Error> {
    let words = line(name, words.iter().map(OsString::from));
    let matches = crate::command().try_get_matches_from(words)?;
    match matches.subcommand() {
        Some((_, matches)) => Ok(Settings::of(name, matches)),
        None => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
    }
}

/// What the words of a command line after `lapidary NAME` ask for, as that command has it.
pub fn parsed<T: clap::FromArgMatches>(name: &str, words: &[String]) -> Result<T, clap::Error> {
    let words = line(name, words.iter().map(OsString::from));
    let matches = crate::command().try_get_matches_from(words)?;
    match matches.subcommand() {
        Some((_, matches)) => T::from_arg_matches(matches),
        None => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
    }
}

/// Whether there is a subcommand.
pub fn exists(name: &str) -> bool {
    crate::command().find_subcommand(name).is_some()
}

/// Whether a subcommand has a flag.
pub fn has_flag(name: &str, flag: &str) -> bool {
    flags(&subcommand(name)).any(|one| one.get_long() == Some(flag))
}

/// `lapidary NAME` with these words.
fn line(name: &str, words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let begin = ["lapidary", name].map(OsString::from);
    begin.into_iter().chain(words).collect()
}

/// What a setting has in the end: of the command line, a file, or by default.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Settings(BTreeMap<String, Value>);

impl Settings {
    /// All settings of a subcommand that say what is made.
    pub fn of(name: &str, matches: &ArgMatches) -> Self {
        let train = subcommand(name);
        // Other commands have a file that describes their model.
        let is_kept = |id: &str| !OF_ONE_RUN.contains(&id) || (id == "config" && name != TRAIN);
        let kept = flags(&train).filter(|flag| is_kept(flag.get_id().as_str()));
        let mut settings = BTreeMap::new();
        for flag in kept {
            let Some(raw) = matches.get_raw(flag.get_id().as_str()) else {
                continue;
            };
            // A default that only means something beside another flag is refused when it is given without it.
            let source = matches.value_source(flag.get_id().as_str());
            if source == Some(ValueSource::DefaultValue)
                && is_beside_another(name, flag, raw.clone())
            {
                continue;
            }
            let typed = |text: &std::ffi::OsStr| typed(&text.to_string_lossy());
            let mut values: Vec<Value> = match flag.get_value_delimiter() {
                Some(delimiter) => raw
                    .flat_map(|text| {
                        let text = text.to_string_lossy().into_owned();
                        text.split(delimiter)
                            .map(crate::config::typed)
                            .collect::<Vec<_>>()
                    })
                    .collect(),
                None => raw.map(typed).collect(),
            };
            let value = match flag.get_action() {
                ArgAction::Append => Value::Array(values),
                _ => values.pop().unwrap_or(Value::Null),
            };
            let key = flag.get_long().unwrap_or_default().replace('-', "_");
            settings.insert(key, value);
        }
        Self(settings)
    }

    /// A setting by its key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// A file that gives them again.
    pub fn toml(&self) -> String {
        let lines = self.0.iter().map(|(key, value)| {
            // JSON's strings, numbers and arrays are TOML's, but for one character.
            let value = value.to_string().replace('\u{7f}', "\\u007f");
            format!("{key} = {value}\n")
        });
        lines.collect()
    }
}

/// Whether a flag with these values is refused alone for want of another.
fn is_beside_another<'a>(
    name: &str,
    flag: &Arg,
    values: impl Iterator<Item = &'a std::ffi::OsStr>,
) -> bool {
    if matches!(flag.get_action(), ArgAction::SetTrue) {
        return false;
    }
    let key = flag.get_long().unwrap_or_default();
    let words = values.map(|value| OsString::from(format!("--{key}={}", value.to_string_lossy())));
    let alone = lenient(name).try_get_matches_from(line(name, words));
    alone.is_err_and(|error| error.kind() == clap::error::ErrorKind::MissingRequiredArgument)
}

fn typed(text: &str) -> Value {
    match (text, text.parse::<Number>()) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        (_, Ok(number)) => Value::Number(number),
        (_, Err(_)) => Value::String(text.to_owned()),
    }
}

/// A subcommand.
fn subcommand(name: &str) -> Command {
    let command = crate::command();
    command.find_subcommand(name).cloned().unwrap_or_default()
}

/// The whole command, satisfied with any part of the settings of a subcommand.
fn lenient(name: &str) -> Command {
    crate::command().mut_subcommand(name, |one| {
        let groups: Vec<Id> = one.get_groups().map(|all| all.get_id().clone()).collect();
        let one = one.mut_args(|flag| flag.required(false));
        groups.into_iter().fold(one, |one, id| {
            one.mut_group(id, |group| group.required(false))
        })
    })
}

/// The same, where flags are taken without those they belong to: these may come from elsewhere, and are checked with
/// them in the end.
fn alone_allowed(name: &str) -> Command {
    lenient(name).mut_subcommand(name, |one| {
        one.mut_args(|flag| flag.requires(Resettable::<Id>::Reset))
    })
}

/// The flags of `train` proper.
fn flags(train: &Command) -> impl Iterator<Item = &Arg> {
    train
        .get_arguments()
        .filter(|flag| flag.get_long().is_some())
}

/// What clap says, on one line and without its advice about usage.
fn said(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let kept = lines.filter(|line| {
        !(line.is_empty() || line.starts_with("Usage:") || line.starts_with("For more information"))
    });
    let text = kept.collect::<Vec<_>>().join(" ");
    text.trim_start_matches("error: ").to_owned()
}

fn given(value: &DeValue<'_>) -> Option<Given> {
    match value {
        DeValue::Boolean(value) => Some(Given::Flag(*value)),
        DeValue::Array(values) => {
            let values = values.iter().map(|value| scalar(value.get_ref()));
            values.collect::<Option<Vec<String>>>().map(Given::Many)
        }
        value => scalar(value).map(Given::One),
    }
}

/// A single value as a word of the command line.
pub fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => {
            Some(number.as_str().trim_start_matches('+').to_owned())
        }
        DeValue::Integer(number) => {
            let value = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(value.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().trim_start_matches('+').to_owned()),
        DeValue::Array(_) | DeValue::Table(_) | DeValue::Datetime(_) => None,
    }
}
