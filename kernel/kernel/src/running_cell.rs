//! One cell being run: routes its parts to magics and to Rust, and is what magics may ask of the
//! kernel while they run.

use crate::bundles;
use crate::kernel_state::KernelState;
use crate::rust::{RustCode, RustRows, scattered};
use crate::session_queries::SessionQueries;
use async_trait::async_trait;
use bireme_jupyter::ExecuteContext;
use bireme_jupyter::wire::{self, CellError, JsonMap};
use bireme_magics::host::{Host, LogSource, Restart, RowSink, RowsFile, StreamName};
use bireme_magics::query::QueryService;
use bireme_magics::{Body, Call, Cell, HelpRequest, MimeBundle, Segment, help, parse};
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Settings;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Cells within cells, such as `%%time` of a `%%time`.
const DEPTH_MAX: usize = 8;

/// A cell while it runs.
pub(crate) struct RunningCell {
    state: Arc<KernelState>,
    context: ExecuteContext,
    depth: Mutex<usize>,
    /// What Rust said of its failure, while a magic that called it hands on the fault.
    rust_failure: Mutex<Option<CellError>>,
    /// The first thing shown, for the history.
    shown: Mutex<Option<String>>,
    /// The display of the cell's line of progress, once there is one.
    progress: Mutex<Option<String>>,
    /// What `%restart` asked for; a cell that fails is not followed by it.
    restart: Mutex<Option<Restart>>,
}

impl RunningCell {
    pub(crate) fn new(state: Arc<KernelState>, context: ExecuteContext) -> Self {
        Self {
            state,
            context,
            depth: Mutex::new(0),
            rust_failure: Mutex::default(),
            shown: Mutex::default(),
            progress: Mutex::default(),
            restart: Mutex::default(),
        }
    }

    /// Runs a cell that was read already.
    pub(crate) async fn run(&self, cell: &Cell) -> Result<(), CellError> {
        let outcome = match self.run_parts(cell).await {
            Ok(()) => self.restart_if_asked().await,
            failed => failed,
        };
        outcome.map_err(|fault| {
            let rust = self
                .rust_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            rust.unwrap_or_else(|| bundles::fault_error(&fault, self.context.code()))
        })
    }

    /// Whether Rust runs now, which ends an interrupted cell itself.
    pub(crate) fn is_in_rust(&self) -> bool {
        self.state.rust.is_evaluating()
    }

    /// The plain text of the first thing the cell has shown.
    pub(crate) fn shown(&self) -> Option<String> {
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn run_parts(&self, cell: &Cell) -> Result<(), Fault> {
        match cell {
            Cell::Empty => Ok(()),
            Cell::Magic(call) => self.magic(call).await,
            Cell::Segments(segments) => {
                for segment in segments {
                    match segment {
                        Segment::Rust(body) => self.rust(body).await?,
                        Segment::Magic(call) => self.magic(call).await?,
                        Segment::Help(request) => self.help(request).await?,
                    }
                }
                Ok(())
            }
        }
    }

    /// Shows the documentation of a name of Rust's; false when Rust does not know it or does not run.
    async fn rust_page(&self, name: &str) -> bool {
        let page = self.state.rust.documentation(name).await;
        let is_known = page.is_some();
        page.into_iter().for_each(|page| self.context.page(page));
        is_known
    }

    async fn restart_if_asked(&self) -> Result<(), Fault> {
        let asked = self
            .restart
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match asked {
            Some(restart) => self.state.restart(restart).await,
            None => Ok(()),
        }
    }

    async fn magic(&self, call: &Call) -> Result<(), Fault> {
        call.magic.run(self, call).await
    }

    async fn help(&self, request: &HelpRequest) -> Result<(), Fault> {
        // No cluster is started for what Rust knows.
        let rust_first = help::starts_cluster(self, request);
        if rust_first && self.rust_page(&request.name).await {
            return Ok(());
        }
        if let Some(page) = help::answer(self, request).await? {
            self.page(page);
            return Ok(());
        }
        if request.is_certain {
            return match !rust_first && self.rust_page(&request.name).await {
                true => Ok(()),
                false => Err(no_help(&request.name)),
            };
        }
        // `x?` is also Rust.
        let text = self.context.code().to_owned();
        self.rust(&Body {
            text,
            line: 1,
            column: 1,
        })
        .await
    }

    async fn rust(&self, body: &Body) -> Result<(), Fault> {
        let settings = self.state.settings.current();
        let code = RustCode {
            code: body.padded(),
            label: format!("cell [{}]", self.context.execution_count()),
            context: &self.context,
            settings: &settings,
            is_quiet: false,
            queries: Some(self),
        };
        let outcome = self.state.rust.evaluate(&code).await;
        let value = outcome.map_err(|error| {
            let fault = Fault::new(ErrorCode::ExecutionError, error.evalue.clone());
            *self
                .rust_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(error);
            fault
        })?;
        if let Some(value) = value {
            self.note_shown(&MimeBundle::plain(value));
        }
        Ok(())
    }

    fn note_shown(&self, bundle: &MimeBundle) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get_or_insert_with(|| bundle.plain.clone());
    }

    fn enter(&self) -> Result<Depth<'_>, Fault> {
        let mut depth = self.depth.lock().unwrap_or_else(PoisonError::into_inner);
        if *depth == DEPTH_MAX {
            let message = format!("run a cell within cells: more than {DEPTH_MAX} of them");
            return Err(Fault::new(ErrorCode::InvalidArgument, message));
        }
        *depth += 1;
        Ok(Depth(&self.depth))
    }
}

fn no_help(name: &str) -> Fault {
    let message = format!("there is no help on {name:?}");
    let hint = "it is no magic, view, table, column or function, and Rust, if it is up, does not know it; \
                %help lists the magics";
    Fault::new(ErrorCode::NotFound, message).with_hint(hint)
}

/// One level of cells within cells.
struct Depth<'a>(&'a Mutex<usize>);

impl Drop for Depth<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

#[async_trait]
impl Host for RunningCell {
    fn display(&self, bundle: MimeBundle) {
        self.note_shown(&bundle);
        let data = bundles::from_magic(&bundle);
        self.context
            .output()
            .display_data(data, JsonMap::new(), None);
    }

    fn progress(&self, bundle: MimeBundle) {
        let (output, data) = (self.context.output(), bundles::from_magic(&bundle));
        let mut line = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match &*line {
            Some(id) => output.update_display_data(data, JsonMap::new(), id),
            None => {
                let id = line.insert(self.state.new_display_id());
                output.display_data(data, JsonMap::new(), Some(id));
            }
        }
    }

    fn result(&self, bundle: MimeBundle) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(bundle.plain.clone());
        self.context
            .execute_result(bundles::from_magic(&bundle), JsonMap::new());
    }

    fn stream(&self, name: StreamName, text: &str) {
        let name = match name {
            StreamName::Stdout => wire::StreamName::Stdout,
            StreamName::Stderr => wire::StreamName::Stderr,
        };
        self.context.output().stream(name, text.as_bytes());
    }

    fn clear_output(&self, wait: bool) {
        // What is cleared cannot be updated.
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.context.output().clear_output(wait);
    }

    fn page(&self, bundle: MimeBundle) {
        self.context.page(bundles::from_magic(&bundle));
    }

    fn cancellation(&self) -> CancellationToken {
        self.context.cancellation().clone()
    }

    async fn queries(&self) -> Result<Arc<dyn QueryService>, Fault> {
        let session = self.state.cluster.session().await?;
        Ok(Arc::new(SessionQueries(session)))
    }

    fn attached(&self) -> Option<Arc<dyn QueryService>> {
        let session = self.state.cluster.attached()?;
        Some(Arc::new(SessionQueries(session)))
    }

    fn settings(&self) -> Settings {
        self.state.settings.current()
    }

    async fn configure(&self, key: &str, value: Option<&str>) -> Result<(), Fault> {
        self.state.configure(key, value).await
    }

    fn parameters(&self) -> Vec<(String, Value)> {
        self.state.parameters.all()
    }

    async fn set_parameter(&self, name: &str, value: Value) -> Result<(), Fault> {
        self.state.parameters.set(name, value);
        Ok(())
    }

    fn is_rust_name(&self, name: &str) -> bool {
        self.state.rust.has_name(name)
    }

    async fn rust_value(&self, expression: &str) -> Result<Value, Fault> {
        let settings = self.state.settings.current();
        let rust = &self.state.rust;
        rust.value(expression, &self.context, &settings, self).await
    }

    fn rows_for_rust(&self, variable: &str) -> Result<Box<dyn RowSink>, Fault> {
        if variable == "_" || syn::parse_str::<syn::Ident>(variable).is_err() {
            let message = format!("{variable:?} cannot be the name of a Rust variable");
            return Err(Fault::new(ErrorCode::InvalidArgument, message));
        }
        // Up by the time the rows are there.
        let settings = self.state.settings.current();
        self.state.rust.warm_up(&settings);
        let link = Arc::clone(&self.state.rust);
        let context = self.context.clone();
        Ok(Box::new(RustRows::new(link, context, settings, variable)))
    }

    async fn rows_of_rust(&self, variable: &str) -> Result<RowsFile, Fault> {
        let settings = self.state.settings.current();
        // A part for each partition that the engines will hold.
        let engines = self.queries().await?.status().await?.engines.len();
        let partitions = usize::try_from(settings.integer("query.partitions")).unwrap_or(1);
        let parts = engines.saturating_mul(partitions);
        let (link, context) = (&self.state.rust, &self.context);
        scattered::write(link, context, &settings, variable, parts).await
    }

    async fn evaluate(&self, body: &Body) -> Result<(), Fault> {
        let _depth = self.enter()?;
        let cell = parse(&body.padded())?;
        self.run_parts(&cell).await
    }

    async fn restart(&self, restart: Restart) -> Result<(), Fault> {
        *self.restart.lock().unwrap_or_else(PoisonError::into_inner) = Some(restart);
        Ok(())
    }

    async fn logs(&self, process: LogSource, lines: usize) -> Result<String, Fault> {
        let logs = self.state.cluster.home().logs();
        let name = match process {
            LogSource::Controller => "controller.log".to_owned(),
            LogSource::Engine(rank) => format!("engine-{rank}.log"),
        };
        let path = logs.join(&name);
        if !path.exists() {
            let message = format!("read the log {}: there is none", path.display());
            return Err(Fault::new(ErrorCode::NotFound, message));
        }
        let read = tokio::task::spawn_blocking(move || bireme_launchers::log_tail(&path, lines));
        let lines = read
            .await
            .map_err(|error| Fault::internal(format!("read {name}: {error}")))?;
        Ok(lines.join("\n"))
    }
}
