//! What is done to samples before anything is learned from them: rows that occur twice, values that are missing,
//! features that tell nothing apart.

use clap::Args;
use lapidary::data::anova::select_best;
use lapidary::data::clean::{
    count_missing, drop_duplicates, drop_missing, feature_means, fill_missing,
};
use lapidary::data::{DataError, Dataset, TrainTest};

use crate::options::Failure;
use crate::trained::join;

use super::{Notes, usage};

/// In the metadata of files: the features that were kept, by their numbers in the data.
const FEATURES: &str = "features";
/// In the metadata of files: what stands for a missing value of each feature of the data.
const FILL: &str = "fill";

#[derive(Debug, Default, Args)]
pub struct TableOptions {
    /// Drop samples of the training set that equal an earlier one in all inputs and the class.
    #[arg(long)]
    drop_duplicates: bool,
    /// Drop samples with missing values.
    #[arg(long, conflicts_with = "fill_missing")]
    drop_missing: bool,
    /// Put the mean of a feature in the training set where its value is missing.
    #[arg(long)]
    fill_missing: bool,
    /// Keep the K features that tell the classes of the training set apart best, by the F statistic.
    #[arg(long, value_name = "K")]
    select_best: Option<usize>,
}

/// What was learned from the training set and is done to every set.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Cleaning {
    drops_missing: bool,
    fill: Option<Vec<f32>>,
    features: Option<Vec<usize>>,
}

impl TableOptions {
    /// Cleans the training set as the flags say, says on stderr what that changed, and returns what other sets need.
    pub fn learn(&self, train: &mut Dataset) -> Result<Cleaning, Failure> {
        if self.drop_duplicates {
            let found = drop_duplicates(train);
            eprintln!(
                "training set: {} duplicates dropped, {} samples left with inputs that another class has too",
                found.n_dropped, found.n_conflicting
            );
            *train = found.data;
        }
        let mut cleaning = Cleaning {
            drops_missing: self.drop_missing,
            ..Cleaning::default()
        };
        if self.fill_missing {
            cleaning.fill = Some(feature_means(train).map_err(|error| named(error, train))?);
        }
        // Features are scored once values are complete.
        cleaning.apply("training set", train)?;
        if let Some(count) = self.select_best {
            let found = select_best(train, count).map_err(|error| named(error, train))?;
            eprintln!("features: {}", names(train, &found));
            *train = train.select_features(&found).map_err(usage)?;
            cleaning.features = Some(found);
        }
        Ok(cleaning)
    }

    /// Both sets, the test set by what was learned from the other.
    pub fn clean(&self, data: &mut TrainTest) -> Result<Cleaning, Failure> {
        let cleaning = self.learn(&mut data.train)?;
        cleaning.apply("test set", &mut data.test)?;
        Ok(cleaning)
    }
}

impl Cleaning {
    /// Changes a set.
    pub fn apply(&self, what: &str, data: &mut Dataset) -> Result<(), Failure> {
        let missing = count_missing(data);
        if self.drops_missing && missing.n_rows > 0 {
            *data =
                drop_missing(data).map_err(|error| Failure::Usage(format!("{what}: {error}")))?;
            eprintln!(
                "{what}: {} samples with missing values dropped",
                missing.n_rows
            );
        }
        if let Some(fill) = &self.fill {
            let n_filled = fill_missing(data, fill).map_err(usage)?;
            if n_filled > 0 {
                eprintln!("{what}: {n_filled} missing values filled");
            }
        }
        if let Some(features) = &self.features {
            *data = data.select_features(features).map_err(usage)?;
        }
        Ok(())
    }

    /// Adds to the metadata of a file what a set needs before the network can take it.
    pub fn note(&self, notes: &mut Notes) {
        if let Some(fill) = &self.fill {
            notes.insert(FILL.to_owned(), join(fill));
        }
        if let Some(features) = &self.features {
            notes.insert(FEATURES.to_owned(), join(features));
        }
    }

    /// What the metadata of a file, by their keys, and the settings it was trained with say.
    pub fn from_notes<'a>(
        note: impl Fn(&'static str) -> Option<&'a str>,
        options: &TableOptions,
    ) -> Result<Self, String> {
        fn numbers<T: std::str::FromStr>(key: &str, text: &str) -> Result<Vec<T>, String> {
            let numbers = text.split_whitespace().map(str::parse::<T>);
            let numbers: Result<Vec<T>, _> = numbers.collect();
            numbers.map_err(|_| format!("metadata `{key}`: {text:?} are no numbers"))
        }
        Ok(Self {
            drops_missing: options.drop_missing,
            fill: note(FILL).map(|text| numbers(FILL, text)).transpose()?,
            features: note(FEATURES)
                .map(|text| numbers(FEATURES, text))
                .transpose()?,
        })
    }
}

/// An error about a set, its feature by name where it has names, and what can be done about what is missing.
pub fn named(error: DataError, data: &Dataset) -> Failure {
    let (row, feature) = match error {
        DataError::Missing { row, feature } => (Some(row), feature),
        DataError::AllMissing { feature } => (None, feature),
        other => return usage(other),
    };
    let name = names(data, &[feature]);
    Failure::Usage(match row {
        Some(row) => format!(
            "row {} of the training set (from 1, without a header), feature {name}: the value is missing; \
             --fill-missing puts the mean there, --drop-missing drops such rows",
            row + 1
        ),
        None => format!(
            "feature {name} is missing in every sample of the training set, so it has no mean"
        ),
    })
}

/// Features by their names, or by their numbers.
fn names(data: &Dataset, features: &[usize]) -> String {
    let name = |&feature: &usize| match data.feature_names() {
        Some(names) => format!("{:?}", names[feature]),
        None => feature.to_string(),
    };
    features.iter().map(name).collect::<Vec<_>>().join(", ")
}
