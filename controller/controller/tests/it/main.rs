//! The controller as engines, launchers and clients see it: over its socket, with scripted engines.
#![cfg(test)]

mod dependencies;
mod engine_loss;
mod engines;
mod fake_engine;
mod frames;
mod harness;
mod queries;
mod queue;
mod restart;
mod sessions;
mod time;
