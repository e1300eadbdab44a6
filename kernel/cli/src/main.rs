//! The one binary: reads the arguments, starts the log and hands over to one command.
//!
//! Every command is a file in `commands`; every error is printed by `report`. What the processes do
//! is in the crates they are named after.

mod arguments;
mod commands;
mod context;
mod error;
mod logging;
mod report;
mod signals;
mod terminal;

use arguments::Arguments;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return report::usage(&error),
    };
    match arguments.run() {
        Ok(code) => code,
        Err(error) => report::failure(&error),
    }
}
