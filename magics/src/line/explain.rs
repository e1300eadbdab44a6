//! `%explain` and `%%explain`: the distributed plan of a query, and after a run what it did.

use async_trait::async_trait;
use bireme_client::RunOptions;
use bireme_protocol::proto::StatementMode;
use bireme_protocol::{ErrorCode, Fault};

use crate::cell::script::Script;
use crate::host::Host;
use crate::line::show::select_all;
use crate::magic::{BodyKind, Call, Example, Flag, Forms, Magic, Spec, is_name};

/// `%explain` and `%%explain`.
#[derive(Debug)]
pub struct Explain;

static SPEC: Spec = Spec {
    name: "explain",
    forms: Forms::Both,
    summary: "Shows the distributed plan of a query or view.",
    doc: "Which operator runs in which stage, on which engines and device. `--analyze` runs the query \
          and adds rows, busy time, bytes read, shuffled and spilled per operator; the hottest is marked.",
    positionals: &[],
    flags: &[
        Flag::switch("analyze", "Run it, and show what every operator did."),
        Flag::TIMEOUT,
    ],
    body: BodyKind::Sql,
    examples: &[
        Example {
            cell: "%explain SELECT count(*) FROM trades",
            doc: "the plan of a query",
        },
        Example {
            cell: "%explain --analyze fast_vessels",
            doc: "run a view and measure it",
        },
    ],
};

#[async_trait]
impl Magic for Explain {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let mode = match call.arguments.has("analyze") {
            true => StatementMode::Analyze,
            false => StatementMode::Explain,
        };
        let options = RunOptions {
            mode,
            timeout: call.timeout(),
            ..RunOptions::default()
        };
        let name = call.body.text.trim();
        if !name.is_empty() && name.split('.').all(is_name) {
            let mut script = Script::new(host, &call.body).await?;
            let explained = script.explain(&select_all(name), 0, options).await;
            return explained.map_err(|mut fault| {
                fault.position = fault.position.map(|_| name_position(call));
                fault
            });
        }
        let mut script = Script::new(host, &call.body).await?;
        let statements = script.statements()?;
        let [statement] = statements.as_slice() else {
            let message = match statements.len() {
                0 => format!("{} has no query to explain", call.title()),
                many => format!("{} explains one query, and {many} are given", call.title()),
            };
            return Err(Fault::new(ErrorCode::InvalidArgument, message).at(call.position()));
        };
        script
            .explain(&statement.text, statement.offset, options)
            .await
    }
}

fn name_position(call: &Call) -> bireme_protocol::Position {
    let text = &call.body.text;
    let start = text.len() - text.trim_start().len();
    crate::text::Piece {
        text: text.trim(),
        offset: start,
    }
    .position(&call.body)
}
