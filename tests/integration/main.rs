//! One module per behaviour that a user can see, on clusters of real processes.
#![cfg(test)]

mod cancel;
mod cluster;
mod controller_bytes;
mod controller_loss;
mod datagen;
mod engine_loss;
mod failure;
mod frames;
mod scale;
mod scans;
mod sinks;
mod spill_disk;
mod sql;
mod traffic;
