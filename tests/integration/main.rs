//! One module per behaviour that a user can see, on clusters of real processes.
#![cfg(test)]

mod cluster;
mod datagen;
mod failure;
mod sql;
