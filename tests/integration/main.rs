//! One module per behaviour that a user can see, on clusters of real processes.

mod cluster;
mod datagen;
mod failure;
mod sql;
