//! The process `bireme-rust analyst`: answers questions about code that is being typed while the
//! Rust host evaluates a cell. It has an evcxr of its own, which runs no cell; what cells have
//! defined comes with each question (see [`crate::outline`]).

use crate::cell_error;
use crate::error::RustHostError;
use crate::evaluator::PRELUDE;
use crate::typing;
use bireme_px::frame::{self, read_frame};
use bireme_px::host_protocol::{HostEvent, HostRequest};
use evcxr::{CommandContext, EvalContext};
use std::fs::File;
use std::io::{BufRead, Write};
use std::process::Command;
use std::time::Instant;

/// What evcxr waits for after it has sent something to be run.
const COMPLETE: &[u8] = b"EVCXR_EXECUTION_COMPLETE\n";

/// Answers until the Rust host closes `requests`.
///
/// # Errors
/// When evcxr cannot start, or the Rust host cannot be understood.
pub fn run(mut requests: File, mut answers: File) -> Result<(), RustHostError> {
    let begun = Instant::now();
    let program =
        std::env::current_exe().map_err(|error| RustHostError::io("find this program", error))?;
    let mut idle = Command::new(program);
    idle.arg("idle-host");
    let started = EvalContext::with_subprocess_command(idle);
    let (context, _outputs) = started.map_err(|error| RustHostError::Start {
        reason: error.to_string(),
    })?;
    let mut context = CommandContext::with_eval_context(context);
    execute(&mut context, PRELUDE);
    typing::warm_up(&mut context);
    let failed = |error| RustHostError::io("answer the Rust host", error);
    let ready = HostEvent::Ready {
        rustc: String::new(),
        start_ms: begun.elapsed().as_millis() as u64,
    };
    answers.write_all(&encode(&ready)?).map_err(failed)?;
    while let Some(frame) = read_frame(&mut requests)? {
        let answer = match frame.message {
            HostRequest::Complete { id, code, cursor } => {
                typing::complete(&mut context, id, &code, cursor)
            }
            HostRequest::Inspect { id, code, cursor } => {
                typing::inspect(&mut context, id, &code, cursor)
            }
            // Dependencies; nothing of them is run.
            HostRequest::Eval { code, .. } => {
                execute(&mut context, &code);
                continue;
            }
            _ => continue,
        };
        answers.write_all(&encode(&answer)?).map_err(failed)?;
    }
    Ok(())
}

fn encode(answer: &HostEvent) -> Result<Vec<u8>, RustHostError> {
    Ok(frame::encode(answer, b"")?)
}

fn execute(context: &mut CommandContext, code: &str) {
    if let Err(error) = context.execute(code) {
        let reason = cell_error::describe(&error);
        tracing::warn!(reason, "completions beside a running cell know less");
    }
}

/// The process `bireme-rust idle-host`: where an analyst's evcxr would run cells. It says that it has
/// run what it is told to run, and runs nothing.
///
/// # Errors
/// When the analyst is gone.
pub fn run_idle_host() -> Result<(), RustHostError> {
    let failed = |error| RustHostError::io("answer evcxr", error);
    let mut answers = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        if line.map_err(failed)?.starts_with("LOAD_AND_RUN") {
            answers
                .write_all(COMPLETE)
                .and_then(|()| answers.flush())
                .map_err(failed)?;
        }
    }
    Ok(())
}
