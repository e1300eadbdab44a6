//! A host and a session that answer from a script and record what magics do with them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bireme_client::RunOptions;
use bireme_magics::host::{LogSource, Restart, RowSink, StreamName};
use bireme_magics::{
    Body, Cell, Host, MimeBundle, QueryService, RunningQuery, Segment, help, parse,
};
use bireme_protocol::{ErrorCode, Fault, Position, proto};
use bireme_settings::{Settings, Source};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::samples::{Step, answer, catalog, done, plan, rows, schema};
use crate::scripted_query::{ScriptedQuery, ScriptedRows};

/// What a cell did, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    Display(MimeBundle),
    Progress(MimeBundle),
    Page(MimeBundle),
    Result(MimeBundle),
    Stream(StreamName, String),
    Clear(bool),
    Rust(String),
    Restart(Restart),
    Sent(String),
    Bound(String, usize),
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    settings: Settings,
    parameters: Vec<(String, Value)>,
    steps: VecDeque<Vec<Step>>,
    submitted: Vec<(String, RunOptions)>,
    cancelled_by_drop: usize,
    attach_delay: Duration,
    define_delay: Duration,
    is_catalog_lost: bool,
}

#[derive(Clone, Default)]
pub(crate) struct ScriptedHost {
    state: Arc<Mutex<State>>,
    pub(crate) cancellation: CancellationToken,
}

impl ScriptedHost {
    pub(crate) fn with_parameters(parameters: &[(&str, Value)]) -> Self {
        let host = Self::default();
        host.state().parameters = parameters
            .iter()
            .map(|(name, value)| ((*name).to_string(), value.clone()))
            .collect();
        host
    }

    /// The cluster is there after a while.
    pub(crate) fn attach_after(&self, delay: Duration) {
        self.state().attach_delay = delay;
    }

    /// Planning a definition takes a while.
    pub(crate) fn define_after(&self, delay: Duration) {
        self.state().define_delay = delay;
    }

    /// Nobody answers who asks for the catalog.
    pub(crate) fn lose_catalog(&self) {
        self.state().is_catalog_lost = true;
    }

    /// The next query gives these updates.
    pub(crate) fn script(&self, steps: Vec<Step>) {
        self.state().steps.push_back(steps);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    pub(crate) fn submitted(&self) -> Vec<(String, RunOptions)> {
        self.state().submitted.clone()
    }

    pub(crate) fn dropped_queries(&self) -> usize {
        self.state().cancelled_by_drop
    }

    /// Everything shown, as text.
    pub(crate) fn transcript(&self) -> String {
        let mut lines = Vec::new();
        for event in self.events() {
            lines.push(match event {
                Event::Display(bundle) => bundle.plain,
                Event::Progress(bundle) => format!("[progress] {}", bundle.plain),
                Event::Page(bundle) => format!("[page] {}", bundle.plain),
                Event::Result(bundle) => format!("result:\n{}", bundle.plain),
                Event::Stream(StreamName::Stdout, text) => format!("stdout: {}", text.trim_end()),
                Event::Stream(StreamName::Stderr, text) => format!("stderr: {}", text.trim_end()),
                Event::Clear(wait) => format!("clear(wait={wait})"),
                Event::Rust(text) => format!("rust: {text}"),
                Event::Restart(restart) => format!("restart: {restart:?}"),
                Event::Sent(sql) => format!("sent: {sql}"),
                Event::Bound(variable, rows) => format!("bound: {variable}, {rows} rows"),
            });
        }
        lines.join("\n")
    }

    /// Runs a cell as the kernel does.
    pub(crate) async fn run(&self, cell: &str) -> Result<(), Fault> {
        match parse(cell)? {
            Cell::Empty => Ok(()),
            Cell::Magic(call) => call.magic.run(self, &call).await,
            Cell::Segments(segments) => {
                for segment in segments {
                    self.segment(segment).await?;
                }
                Ok(())
            }
        }
    }

    async fn segment(&self, segment: Segment) -> Result<(), Fault> {
        match segment {
            Segment::Rust(body) => self.record(Event::Rust(body.text)),
            Segment::Magic(call) => call.magic.run(self, &call).await?,
            Segment::Help(request) => {
                if let Some(page) = help::answer(self, &request).await? {
                    self.page(page);
                }
            }
        }
        Ok(())
    }

    /// A query went before its end.
    pub(crate) fn count_dropped_query(&self) {
        self.state().cancelled_by_drop += 1;
    }

    pub(crate) fn record(&self, event: Event) {
        self.state().events.push(event);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

#[async_trait]
impl Host for ScriptedHost {
    fn display(&self, bundle: MimeBundle) {
        self.record(Event::Display(bundle));
    }

    fn progress(&self, bundle: MimeBundle) {
        self.record(Event::Progress(bundle));
    }

    fn result(&self, bundle: MimeBundle) {
        self.record(Event::Result(bundle));
    }

    fn stream(&self, name: StreamName, text: &str) {
        self.record(Event::Stream(name, text.to_string()));
    }

    fn clear_output(&self, wait: bool) {
        self.record(Event::Clear(wait));
    }

    fn page(&self, bundle: MimeBundle) {
        self.record(Event::Page(bundle));
    }

    fn cancellation(&self) -> CancellationToken {
        self.cancellation.clone()
    }

    async fn queries(&self) -> Result<Arc<dyn QueryService>, Fault> {
        let delay = self.state().attach_delay;
        tokio::time::sleep(delay).await;
        Ok(Arc::new(self.clone()))
    }

    fn attached(&self) -> Option<Arc<dyn QueryService>> {
        Some(Arc::new(self.clone()))
    }

    fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    async fn configure(&self, key: &str, value: Option<&str>) -> Result<(), Fault> {
        let refused = |error: &dyn std::fmt::Display| {
            Fault::new(ErrorCode::InvalidArgument, error.to_string())
        };
        let setting = bireme_settings::find(key).ok_or_else(|| {
            Fault::new(
                ErrorCode::InvalidArgument,
                format!("there is no setting {key:?}"),
            )
        })?;
        let value = value.unwrap_or(setting.default);
        let mut state = self.state();
        state
            .settings
            .set(key, value, Source::Session)
            .map_err(|error| refused(&error))
    }

    fn parameters(&self) -> Vec<(String, Value)> {
        self.state().parameters.clone()
    }

    async fn set_parameter(&self, name: &str, value: Value) -> Result<(), Fault> {
        let mut state = self.state();
        state.parameters.retain(|(known, _)| known != name);
        state.parameters.push((name.to_string(), value));
        Ok(())
    }

    fn is_rust_name(&self, name: &str) -> bool {
        name == "rust_variable"
    }

    async fn rust_value(&self, expression: &str) -> Result<Value, Fault> {
        match expression {
            "rust_variable" => Ok(Value::from(7)),
            "rust_variable * 2 + 1" => Ok(Value::from(15)),
            "name.to_uppercase()" => Ok(Value::from("O'NEIL")),
            _ => Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("evaluate {expression}: cannot find it in this scope"),
            )),
        }
    }

    fn rows_for_rust(&self, variable: &str) -> Result<Box<dyn RowSink>, Fault> {
        Ok(Box::new(ScriptedRows::new(self.clone(), variable)))
    }

    async fn rows_of_rust(&self, variable: &str) -> Result<bireme_magics::host::RowsFile, Fault> {
        let path = format!("/rows/{variable}.arrow");
        Ok(bireme_magics::host::RowsFile::new(path, Box::new(())))
    }

    async fn evaluate(&self, body: &Body) -> Result<(), Fault> {
        Box::pin(self.run(&body.padded())).await
    }

    async fn restart(&self, restart: Restart) -> Result<(), Fault> {
        self.record(Event::Restart(restart));
        Ok(())
    }

    async fn logs(&self, process: LogSource, lines: usize) -> Result<String, Fault> {
        Ok(format!("the last {lines} lines of {process:?}"))
    }
}

/// The engines of the script: they know no name that begins with `bad_`.
#[async_trait]
impl QueryService for ScriptedHost {
    fn session(&self) -> String {
        "notebook".into()
    }

    async fn submit(
        &self,
        sql: &str,
        options: &RunOptions,
    ) -> Result<Box<dyn RunningQuery>, Fault> {
        refuse_bad_names(sql)?;
        let steps = {
            let mut state = self.state();
            state.submitted.push((sql.to_string(), options.clone()));
            state.steps.pop_front()
        };
        let steps = steps.unwrap_or_else(|| match options.mode {
            proto::StatementMode::Run => answer(&rows(3), 3),
            _ => vec![(Duration::ZERO, done(0, Some(plan())))],
        });
        Ok(Box::new(ScriptedQuery::new(steps, self.clone())))
    }

    async fn define(
        &self,
        sql: &str,
        values: Vec<proto::BoundValue>,
    ) -> Result<proto::DefineReply, Fault> {
        refuse_bad_names(sql)?;
        let delay = self.state().define_delay;
        tokio::time::sleep(delay).await;
        let values: Vec<_> = values
            .iter()
            .map(|v| format!(" [{}={}]", v.name, v.json))
            .collect();
        self.record(Event::Sent(format!(
            "{}{}",
            sql.replace('\n', "⏎"),
            values.concat()
        )));
        let name = sql
            .split_whitespace()
            .skip_while(|w| !matches!(*w, "VIEW" | "TABLE"))
            .nth(1);
        let schema = serde_json::to_string(schema().as_ref()).unwrap();
        let entry = proto::CatalogEntry {
            name: name.unwrap_or_default().to_string(),
            kind: match sql.contains("EXTERNAL") {
                true => proto::EntryKind::ExternalTable.into(),
                false => proto::EntryKind::View.into(),
            },
            sql: sql.to_string(),
            schema_json: schema,
            defined_at_ms: 0,
            ..Default::default()
        };
        Ok(proto::DefineReply {
            entry: Some(entry),
            replaced: false,
            catalog_version: 1,
        })
    }

    async fn drop_name(&self, name: &str, if_exists: bool) -> Result<bool, Fault> {
        match (name.starts_with("bad_"), if_exists) {
            (true, false) => Err(Fault::new(
                ErrorCode::NotFound,
                format!("drop {name}: no such view or table"),
            )),
            (is_missing, _) => Ok(!is_missing),
        }
    }

    async fn publish(&self, name: &str, withdraw: bool) -> Result<(), Fault> {
        refuse_bad_names(name)?;
        let verb = if withdraw { "WITHDRAW" } else { "PUBLISH" };
        self.record(Event::Sent(format!("{verb} {name}")));
        Ok(())
    }

    async fn gather(
        &self,
        entry: &proto::CatalogEntry,
        files: &[String],
    ) -> Result<Vec<proto::SharedBatch>, Fault> {
        let sent = format!("GATHER {} to {}", entry.name, files.join(" "));
        self.record(Event::Sent(sent));
        Ok(vec![crate::samples::shared_batch(3)])
    }

    async fn memory(&self) -> Result<Vec<proto::EngineMemory>, Fault> {
        Ok(crate::samples::memory())
    }

    async fn catalog(&self) -> Result<proto::Catalog, Fault> {
        match self.state().is_catalog_lost {
            true => Err(Fault::new(
                ErrorCode::Unavailable,
                "ask for the catalog: nobody answers",
            )),
            false => Ok(catalog()),
        }
    }

    async fn status(&self) -> Result<proto::ClusterStatus, Fault> {
        Ok(proto::ClusterStatus {
            cluster_id: "c1".into(),
            engines_wanted: 2,
            engines: vec![
                proto::EngineStatus {
                    rank: 0,
                    state: "up".into(),
                    slot: "cpu".into(),
                    started_at_ms: u64::MAX,
                    ..Default::default()
                },
                proto::EngineStatus {
                    rank: 1,
                    state: "lost".into(),
                    slot: "cpu".into(),
                    started_at_ms: u64::MAX,
                    last_exit: "signal 9 (SIGKILL)".into(),
                    ..Default::default()
                },
            ],
            ..Default::default()
        })
    }

    async fn jobs(&self) -> Result<Vec<proto::QueryRecord>, Fault> {
        Ok(Vec::new())
    }

    async fn history(&self, _of_all: bool, limit: u32) -> Result<Vec<proto::QueryRecord>, Fault> {
        let record = proto::QueryRecord {
            query_id: "3f2a0c1de0f94c0f8b5f1d8f0a9e7c11".into(),
            sql: "SELECT *\n  FROM ais".into(),
            state: proto::QueryState::Succeeded.into(),
            elapsed_ms: 41,
            ..Default::default()
        };
        Ok(vec![record; limit.min(1) as usize])
    }

    async fn follow(&self, id: &str) -> Result<Box<dyn RunningQuery>, Fault> {
        match id {
            "dead" => Err(Fault::new(
                ErrorCode::NotFound,
                "follow dead: no query has this id",
            )),
            _ => self.submit("", &RunOptions::default()).await,
        }
    }

    async fn cancel(&self, id: &str, _reason: &str) -> Result<proto::CancelReply, Fault> {
        match id {
            "dead" => Err(Fault::new(
                ErrorCode::NotFound,
                "cancel dead: no query has this id",
            )),
            id => Ok(proto::CancelReply {
                cancelled: true,
                query_id: format!("{id}00000000"),
            }),
        }
    }

    async fn spans(&self, _id: &str) -> Result<Vec<proto::EngineSpans>, Fault> {
        Ok(Vec::new())
    }
}

fn refuse_bad_names(sql: &str) -> Result<(), Fault> {
    let Some(at) = sql.find("bad_") else {
        return Ok(());
    };
    let name: String = sql[at..]
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let before = &sql[..at];
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count();
    let fault = Fault::new(
        ErrorCode::SqlPlanError,
        format!("no table or column {name:?}"),
    );
    Err(fault
        .with_hint(format!("did you mean {}?", &name[4..]))
        .at(Position {
            line: before.matches('\n').count() as u32 + 1,
            column: column as u32 + 1,
            length: name.chars().count() as u32,
        }))
}
