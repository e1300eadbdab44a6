//! Tests of budgets, the spill directory and placement through their public behaviour.
#![cfg(test)]

mod batch_file;
mod budget;
mod placement;
mod spill_directory;
