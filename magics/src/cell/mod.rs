//! Magics that head a cell, one per file.

mod destinations;
pub(crate) mod script;
pub mod sql;
pub mod time;
