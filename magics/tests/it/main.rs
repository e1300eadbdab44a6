//! Magics as a kernel uses them: cells go in, outputs and faults come out of a scripted host.

mod carets;
mod completion;
mod display;
mod parsing;
mod progress;
mod registry;
mod scripted_host;
mod sql;
