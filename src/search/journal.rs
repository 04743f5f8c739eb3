//! What a search did, as lines of JSON: what is searched, then a trial each.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{SearchError, Space, State, Trial};
use crate::io::Lines;

const FORMAT: &str = "lapidary-search-1";

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    lines: Lines,
}

/// A line of a trial.
#[derive(Serialize, Deserialize)]
struct Entry {
    trial: u32,
    values: Json,
    state: State,
    value: Option<f64>,
    reports: Vec<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Journal {
    /// Opens or makes the journal of a search, whose trials it returns. `about` are all settings on which trials
    /// depend.
    ///
    /// # Errors
    /// [`SearchError::Io`], [`SearchError::OtherSearch`] for the journal of a search with other settings,
    /// [`SearchError::Journal`] with the first line that is not one of it.
    pub(super) fn open(
        path: &Path,
        space: &Space,
        about: Map<String, Json>,
    ) -> Result<(Self, Vec<Trial>), SearchError> {
        let mut about = about;
        about.insert("format".to_owned(), FORMAT.into());
        let (mut lines, found) = Lines::open(path)?;
        let wrong = |line: usize, reason: String| SearchError::Journal {
            file: path.to_owned(),
            line,
            reason,
        };
        let Some((first, rest)) = found.split_first() else {
            lines.append(&Json::Object(about).to_string())?;
            return Ok((Self { lines }, Vec::new()));
        };
        let header: Map<String, Json> =
            serde_json::from_str(first).map_err(|error| wrong(1, error.to_string()))?;
        // Numbers are compared as they are written.
        for key in about.keys().chain(header.keys()) {
            let shown = |map: &Map<String, Json>| {
                map.get(key)
                    .map_or_else(|| "missing".to_owned(), Json::to_string)
            };
            let (found, expected) = (shown(&header), shown(&about));
            if found != expected {
                return Err(SearchError::OtherSearch {
                    file: path.to_owned(),
                    key: key.clone(),
                    found,
                    expected,
                });
            }
        }
        let mut trials = Vec::new();
        for (index, text) in rest.iter().enumerate() {
            let line = index + 2;
            let entry: Entry =
                serde_json::from_str(text).map_err(|error| wrong(line, error.to_string()))?;
            if entry.trial as usize != index {
                let reason = format!("trial {}, where {index} follows", entry.trial);
                return Err(wrong(line, reason));
            }
            if entry.value.is_some() != (entry.state == State::Complete) {
                return Err(wrong(line, "only a complete trial has a value".to_owned()));
            }
            let values = space.from_json(&entry.values);
            trials.push(Trial {
                number: entry.trial,
                values: values.map_err(|reason| wrong(line, reason))?,
                state: entry.state,
                value: entry.value,
                reports: entry.reports,
                reason: entry.reason,
            });
        }
        Ok((Self { lines }, trials))
    }

    /// Adds a trial.
    pub(super) fn append(&mut self, space: &Space, trial: &Trial) -> Result<(), SearchError> {
        let entry = Entry {
            trial: trial.number,
            values: space.to_json(&trial.values),
            state: trial.state,
            value: trial.value,
            reports: trial.reports.clone(),
            reason: trial.reason.clone(),
        };
        // Plain data with names as keys always has a JSON form.
        let text = serde_json::to_string(&entry).map_err(|error| SearchError::Journal {
            file: self.lines.path().to_owned(),
            line: trial.number as usize + 2,
            reason: error.to_string(),
        })?;
        Ok(self.lines.append(&text)?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.lines.path()
    }
}
