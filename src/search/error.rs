//! What can go wrong in a search.

use std::path::PathBuf;

use thiserror::Error;

use crate::io::IoError;

/// Why a search could not begin or go on.
#[derive(Debug, Error)]
pub enum SearchError {
    /// Nothing to choose.
    #[error("the space has no dimension: nothing is searched")]
    NoDimensions,
    /// Two dimensions of one name.
    #[error("`{name}` is in the space twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A domain that holds nothing, or whose numbers do not make one.
    #[error("`{name}`: {what} is {given}; allowed: {allowed}")]
    Domain {
        /// The dimension.
        name: String,
        /// Which number.
        what: &'static str,
        /// Its value.
        given: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A range without a number of points, of which there is no grid.
    #[error("`{name}`: a grid needs the number of points of a range")]
    NoPoints {
        /// The dimension.
        name: String,
    },
    /// More points than anyone would try.
    #[error("the grid has {given} points; at most {most} are tried")]
    GridTooLarge {
        /// Points, as far as they can be counted.
        given: u128,
        /// The limit.
        most: u32,
    },
    /// The journal cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A line of a journal that is none.
    #[error("{}:{line}: {reason}", file.display())]
    Journal {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The journal of a search for something else.
    #[error("{}: the journal of another search: {key} was {found}, now {expected}", file.display())]
    OtherSearch {
        /// The file.
        file: PathBuf,
        /// What differs.
        key: String,
        /// In the journal.
        found: String,
        /// Asked for.
        expected: String,
    },
}
