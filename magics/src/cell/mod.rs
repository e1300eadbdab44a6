//! Magics that head a cell, one per file.

pub(crate) mod script;
pub mod sql;
pub mod time;
