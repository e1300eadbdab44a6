//! Lazy frames: expressions, verbs, and what runs them on the engines.

pub mod expr;
mod expr_methods;
pub mod group_by;
pub mod join;
pub mod lazy_frame;
mod plan;
pub mod run;
mod sql_text;
#[cfg(test)]
mod tests;

pub use expr_methods::{Then, When, when};
pub use sql_text::Literal;
