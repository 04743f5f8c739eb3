//! Making networks smaller, and saying truthfully what was gained and lost.

pub mod deploy;
pub mod model;
pub mod outcome;
