//! Tests of budgets, the spill directory, what is spilled and placement through their public
//! behaviour.
#![cfg(test)]

mod bounds;
mod budget;
mod frame_store;
mod placement;
mod shared_rows;
mod small_disk;
mod spill_directory;
mod spilled_batches;
