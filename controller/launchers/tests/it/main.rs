//! Clusters of real processes: this test binary started anew as launcher, controller and engines.
#![cfg(test)]

mod lock;
mod logs;
mod processes;
mod starting;
mod supervision;
