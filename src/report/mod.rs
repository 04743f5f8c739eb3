//! Reports: plots as SVG and self-contained HTML pages.
//!
//! A plot is a function from plain data to SVG text ([`plot`]); a [`Page`] puts plots, tables and
//! paragraphs into one HTML file that needs nothing else to be read. Neither touches a file or knows
//! what is measured: whoever reports hands over names and numbers, and writes the text where it
//! belongs.
//!
//! [`compression`] puts what compressing a network gained and lost into a page and a table, [`language`] what
//! language models lose and save side by side.
//!
//! Names come from files and command lines, so any text is allowed anywhere: it is escaped, and
//! shortened in the middle where it has no room, with the whole text shown on hovering.

pub mod compression;
pub mod language;
mod page;
mod palette;
pub mod plot;
mod rich;
mod text;

pub use page::Page;
pub use rich::{Card, Cell, Row, Tone};
