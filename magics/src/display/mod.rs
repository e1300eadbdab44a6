//! Pure rendering: from data to text and HTML. Nothing here waits, asks or writes.
//!
//! HTML uses inline styles only, inherits colours and sets no background, so that it looks right in
//! light and dark themes and survives the sanitising of notebooks that are not trusted.

pub mod error;
pub mod frames;
pub mod grid;
pub mod listing;
pub mod memory;
pub mod plan;
pub mod progress;
pub mod table;
pub mod timeline;
pub mod units;
