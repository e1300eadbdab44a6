//! Clusters of real processes: this test binary started anew as launcher, controller and engines.

mod lock;
mod logs;
mod processes;
mod starting;
mod supervision;
