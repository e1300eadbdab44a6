//! `%time` and `%%time`: how long code takes, of any kind the kernel runs.

use std::time::Instant;

use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};

use crate::display::units::duration;
use crate::host::{Host, StreamName};
use crate::magic::{BodyKind, Call, Example, Forms, Magic, Spec};

/// `%time` and `%%time`.
#[derive(Debug)]
pub struct Time;

static SPEC: Spec = Spec {
    name: "time",
    forms: Forms::Both,
    summary: "Runs code and says how long it took.",
    doc: "The code is Rust or another magic. A Rust cell's time has its compilation in it.",
    positionals: &[],
    flags: &[],
    body: BodyKind::Code,
    examples: &[
        Example {
            cell: "%time %sql SELECT count(*) FROM 'data/*.parquet'",
            doc: "time a line",
        },
        Example {
            cell: "%%time\n%%sql\nSELECT 1",
            doc: "time a cell",
        },
    ],
};

#[async_trait]
impl Magic for Time {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        if call.body.is_blank() {
            let message = format!("{} has no code to time", call.title());
            return Err(Fault::new(ErrorCode::InvalidArgument, message).at(call.position()));
        }
        let started = Instant::now();
        let outcome = host.evaluate(&call.body).await;
        let ending = if outcome.is_ok() { "" } else { " (failed)" };
        let line = format!("time: {}{ending}\n", duration(started.elapsed()));
        host.stream(StreamName::Stdout, &line);
        outcome
    }
}
