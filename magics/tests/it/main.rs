//! Magics as a kernel uses them: cells go in, outputs and faults come out of a scripted host.
#![cfg(test)]

mod carets;
mod completion;
mod display;
mod frames;
mod parsing;
mod progress;
mod questions;
mod registry;
mod samples;
mod scripted_host;
mod scripted_query;
mod sql;
mod verbatim;
