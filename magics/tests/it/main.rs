//! Magics as a kernel uses them: cells go in, outputs and faults come out of a scripted host.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests fail as tests do"
)]

mod carets;
mod completion;
mod display;
mod parsing;
mod progress;
mod registry;
mod samples;
mod scripted_host;
mod sql;
