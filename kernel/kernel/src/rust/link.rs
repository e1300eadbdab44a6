//! The Rust host from cell to cell: started when it is needed, one evaluation at a time, started
//! anew after it died, with the parameters it has to know.

use super::ending::{answer, input_refused, overdue, timed_out};
use super::host::RustHost;
use super::routes::{Ended, Following, Phase};
use super::starting::WaitLine;
use super::value;
use super::version::rustc_version;
use crate::bundles;
use crate::options::KernelOptions;
use crate::parameters::Parameters;
use bireme_jupyter::ExecuteContext;
use bireme_jupyter::wire::{CellError, MimeBundle};
use bireme_magics::display::progress::INTERVAL;
use bireme_magics::host::Host;
use bireme_protocol::{ErrorCode, Fault};
use bireme_px::host_protocol::{HostEvent, HostRequest, Outcome};
use bireme_settings::Settings;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

/// Commands of evcxr after which it knows no variable.
const FORGETTING: [&str; 2] = [":clear", ":restart"];
/// The first start of a build compiles the crate that cells link against.
const START_TIMEOUT: Duration = Duration::from_secs(600);
/// A cell that was interrupted and has not ended by then takes the host with it.
const INTERRUPT_GRACE: Duration = Duration::from_millis(1500);
/// How long the end of a cell waits for the names of the variables there are now.
const NAMES_WITHIN: Duration = Duration::from_millis(100);
/// Longest wait for completions and documentation.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(1500);

/// Rust, as one kernel has it.
pub(crate) struct RustLink {
    options: Arc<KernelOptions>,
    parameters: Arc<Parameters>,
    state: Mutex<State>,
    /// One evaluation at a time, whichever subshell it comes from.
    turns: Semaphore,
    chores: TaskTracker,
}

#[derive(Default)]
struct State {
    host: Option<Arc<RustHost>>,
    /// Variables Rust had after its last cell.
    names: BTreeSet<String>,
    /// Those of a host that ended when no cell ran, until a cell can say so.
    lost: BTreeSet<String>,
    rustc: Option<String>,
}

/// A piece of Rust to run.
pub(crate) struct RustCode<'a> {
    /// The code, moved to where it stands in the cell.
    pub(crate) code: String,
    /// How errors call the cell.
    pub(crate) label: String,
    /// The cell it is part of.
    pub(crate) context: &'a ExecuteContext,
    /// The settings of the session.
    pub(crate) settings: &'a Settings,
    /// Whether its outputs go nowhere.
    pub(crate) is_quiet: bool,
    /// Who runs the queries it asks for; none for code of our own.
    pub(crate) queries: Option<&'a dyn Host>,
}

impl RustLink {
    pub(crate) fn new(options: Arc<KernelOptions>, parameters: Arc<Parameters>) -> Self {
        Self {
            options,
            parameters,
            state: Mutex::default(),
            turns: Semaphore::new(1),
            chores: TaskTracker::new(),
        }
    }

    /// The compiler's version line, once it is known.
    pub(crate) fn rustc(&self) -> Option<String> {
        self.lock().rustc.clone()
    }

    /// Whether Rust has a variable of this name.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.lock().names.contains(name)
    }

    /// Whether a piece of Rust runs, of a cell or on behalf of a magic.
    pub(crate) fn is_evaluating(&self) -> bool {
        self.turns.available_permits() == 0
    }

    /// Learns the compiler's version without a host.
    pub(crate) async fn learn_version(&self) {
        let told = rustc_version(self.options.home.root()).await;
        let mut state = self.lock();
        // That of a host is right in any case.
        if state.rustc.is_none() {
            state.rustc = told;
        }
    }

    /// Starts the host without waiting for it; one that ended is left to the next cell.
    pub(crate) fn warm_up(&self, settings: &Settings) {
        if self.lock().host.is_some() {
            return;
        }
        if let Err(fault) = self.host(settings) {
            tracing::info!(%fault, "the Rust host is not started in the background");
        }
    }

    /// Runs Rust code; its outputs go to the cell it is part of. Gives the plain text of its value.
    pub(crate) async fn evaluate(
        self: &Arc<Self>,
        code: &RustCode<'_>,
    ) -> Result<Option<String>, CellError> {
        let cancellation = code.context.cancellation();
        let turn = cancellation.run_until_cancelled(self.turns.acquire()).await;
        let Some(Ok(_turn)) = turn else {
            return Err(CellError::interrupted());
        };
        if code.settings.get("rust.start") == "off" {
            let fault = Fault::new(
                ErrorCode::Unavailable,
                "run Rust: it is turned off in this session",
            )
            .with_hint("`%config rust.start auto` turns it on");
            return Err(bundles::fault_error(&fault, ""));
        }
        let host = self
            .host(code.settings)
            .map_err(|fault| bundles::fault_error(&fault, ""))?;
        self.warn_of_lost(code.context);
        let mut line = WaitLine::new(code.context, code.settings.duration("progress.after"));
        let outcome = self.run_when_ready(&host, code, &mut line).await;
        // A wait that was cut short is over as well.
        line.end("stopped");
        let value = host.routes.take_value();
        let link = Arc::clone(self);
        let learning = self
            .chores
            .spawn(async move { link.learn_names(&host).await });
        // The next cell may ask for them. A cell that failed gives its prompt back at once.
        if outcome.is_ok() {
            let _ = tokio::time::timeout(NAMES_WITHIN, learning).await;
        }
        outcome.map(|()| value)
    }

    /// The value of an expression, for SQL. Nothing of it is shown.
    pub(crate) async fn value(
        self: &Arc<Self>,
        expression: &str,
        context: &ExecuteContext,
        settings: &Settings,
        queries: &dyn Host,
    ) -> Result<Value, Fault> {
        let code = RustCode {
            code: value::cell(expression),
            label: format!("{{{{{expression}}}}}"),
            context,
            settings,
            is_quiet: true,
            queries: Some(queries),
        };
        let shown = self.evaluate(&code).await;
        let shown = shown.map_err(|error| value::failure(expression, &error))?;
        value::read(expression, shown.as_deref())
    }

    /// Runs code in a host that knows the parameters.
    async fn run_when_ready(
        &self,
        host: &RustHost,
        code: &RustCode<'_>,
        line: &mut WaitLine<'_>,
    ) -> Result<(), CellError> {
        self.wait_until_ready(host, code, line).await?;
        let untold = self.parameters.take_untold();
        if !untold.is_empty() {
            let told = RustCode {
                code: untold,
                label: "%param".to_owned(),
                is_quiet: true,
                ..*code
            };
            let outcome = self.run(host, &told, line).await;
            outcome.inspect_err(|_| self.parameters.forgotten_by_rust())?;
        }
        let outcome = self.run(host, code, line).await;
        let forgets = |line: &str| FORGETTING.contains(&line.trim());
        if code.code.lines().any(forgets) {
            self.parameters.forgotten_by_rust();
        }
        outcome
    }

    fn warn_of_lost(&self, context: &ExecuteContext) {
        let lost = std::mem::take(&mut self.lock().lost);
        if !lost.is_empty() {
            let names = Vec::from_iter(lost).join(", ");
            context.output().stderr(format!(
                "warning: the Rust host ended between two cells; variables that are lost: {names}\n"
            ));
        }
    }

    /// The running host, or a new one.
    fn host(&self, settings: &Settings) -> Result<Arc<RustHost>, Fault> {
        let mut state = self.lock();
        if let Some(host) = &state.host
            && !matches!(*host.routes.phase().borrow(), Phase::Ended { .. })
        {
            return Ok(Arc::clone(host));
        }
        let host = Arc::new(RustHost::start(&self.options, settings)?);
        state.host = Some(Arc::clone(&host));
        let names = std::mem::take(&mut state.names);
        state.lost.extend(names);
        self.parameters.forgotten_by_rust();
        Ok(host)
    }

    async fn wait_until_ready(
        &self,
        host: &RustHost,
        code: &RustCode<'_>,
        line: &mut WaitLine<'_>,
    ) -> Result<(), CellError> {
        let mut phase = host.routes.phase();
        let progress = host.routes.progress();
        let deadline = tokio::time::Instant::now() + START_TIMEOUT;
        loop {
            match &*phase.borrow_and_update() {
                Phase::Ready { rustc } => {
                    self.lock().rustc = Some(rustc.clone());
                    return Ok(());
                }
                Phase::Ended {
                    reason: Some(reason),
                } => {
                    return Err(bundles::rust_error(reason.clone()));
                }
                Phase::Ended { reason: None } => return Err(host_died("before it was ready")),
                Phase::Starting => {}
            }
            tokio::select! {
                biased;
                () = code.context.cancellation().cancelled() => return Err(CellError::interrupted()),
                _ = phase.changed() => {}
                () = tokio::time::sleep_until(line.next().into()) => {
                    let told = progress.borrow().clone();
                    line.tick(if told.is_empty() { "starting Rust" } else { &told });
                }
                () = tokio::time::sleep_until(deadline) => {
                    host.kill();
                    return Err(host_died(&format!("after {START_TIMEOUT:?} without being ready")));
                }
            }
        }
    }

    async fn run(
        &self,
        host: &RustHost,
        code: &RustCode<'_>,
        line: &mut WaitLine<'_>,
    ) -> Result<(), CellError> {
        let id = host.new_id();
        let following = host.routes.begin(id, code.context.clone(), code.is_quiet);
        let Following {
            begun,
            mut input,
            mut end,
        } = following;
        let (text, label) = (code.code.clone(), code.label.clone());
        if !host
            .send(HostRequest::Eval {
                id,
                code: text,
                label,
            })
            .await
        {
            return Err(self.died("before the cell"));
        }
        let progress = host.routes.progress();
        let mut beat = tokio::time::interval(INTERVAL);
        let cancellation = code.context.cancellation();
        let limit = code.settings.duration("rust.timeout");
        let mut overdue = std::pin::pin!(overdue(begun, limit));
        let mut refused = std::pin::pin!(answer(host, code.context, &mut input));
        let mut queries = std::pin::pin!(serve(host, code.queries));
        // What the line says when nothing is waited for any more.
        let mut over = "Rust was ready";
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut end => break ended,
                () = cancellation.cancelled() => return self.interrupt(host, end).await,
                () = &mut overdue => {
                    let ended = self.interrupt(host, end).await;
                    return ended.map_err(|error| timed_out(error, limit));
                }
                refused = &mut refused => {
                    let ended = self.interrupt(host, end).await;
                    return ended.map_err(|error| input_refused(error, &refused));
                }
                () = &mut queries => {}
                _ = beat.tick() => {
                    let told = progress.borrow().clone();
                    if told.is_empty() {
                        line.end(over);
                    } else {
                        line.tick(&told);
                        over = "compiled";
                    }
                }
            }
        };
        let outcome = self.read(ended);
        line.end(if outcome.is_ok() { over } else { "failed" });
        outcome
    }

    /// Stops the running cell; a cell that does not stop takes the host with it.
    async fn interrupt(
        &self,
        host: &RustHost,
        end: oneshot::Receiver<Ended>,
    ) -> Result<(), CellError> {
        let asked = async {
            host.send(HostRequest::Interrupt).await;
            end.await
        };
        match tokio::time::timeout(INTERRUPT_GRACE, asked).await {
            Ok(ended) => self.read(ended),
            Err(_) => {
                host.kill();
                let mut state = self.lock();
                state.host = None;
                state.names.clear();
                let evalue = format!(
                    "the cell did not stop within {INTERRUPT_GRACE:?}: Rust was ended, and its variables are gone"
                );
                Err(CellError::new(CellError::INTERRUPTED, evalue))
            }
        }
    }

    /// How a cell ended. Parameters that went with a lost process are told again to the next.
    fn read(&self, ended: Result<Ended, oneshot::error::RecvError>) -> Result<(), CellError> {
        let Ok(ended) = ended else {
            return Err(self.died("while the cell ran"));
        };
        if !ended.lost_variables.is_empty() {
            let is_there = |name: &String| !ended.lost_variables.contains(name);
            self.lock().names.retain(is_there);
            self.parameters.forgotten_by_rust();
        }
        match ended.outcome {
            Outcome::Ok => Ok(()),
            Outcome::Error(error) => Err(bundles::rust_error(error)),
        }
    }

    /// The failure of a cell whose host is gone; it tells of all variables.
    fn died(&self, when: &str) -> CellError {
        self.lock().names.clear();
        host_died(when)
    }

    /// Asks which variables there are now.
    async fn learn_names(&self, host: &Arc<RustHost>) {
        let answer = ask(host, |id| HostRequest::Variables { id }).await;
        if let Some(HostEvent::Variables { variables, .. }) = answer {
            let mut state = self.lock();
            // It may have been restarted meanwhile.
            if state
                .host
                .as_ref()
                .is_some_and(|now| Arc::ptr_eq(now, host))
            {
                let names = variables.into_iter().map(|variable| variable.name);
                state.names = names.collect();
            }
        }
    }

    /// Asks the compiler about code that is being typed; `None` when Rust is not up.
    pub(crate) async fn ask(&self, request: impl FnOnce(u64) -> HostRequest) -> Option<HostEvent> {
        let host = self.lock().host.clone()?;
        let is_ready = matches!(*host.routes.phase().borrow(), Phase::Ready { .. });
        if !is_ready {
            return None;
        }
        ask(&host, request).await
    }

    /// What the compiler knows of a name, when Rust is up.
    pub(crate) async fn documentation(&self, name: &str) -> Option<MimeBundle> {
        let (code, cursor) = (name.to_owned(), name.len());
        let answer = self.ask(|id| HostRequest::Inspect { id, code, cursor });
        match answer.await {
            Some(HostEvent::Inspection { bundle, .. }) => Some(bundles::from_rust(bundle?).0),
            _ => None,
        }
    }

    /// Ends the host; the next cell starts a new one without variables.
    pub(crate) async fn forget(&self) {
        let host = {
            let mut state = self.lock();
            state.names.clear();
            state.lost.clear();
            state.host.take()
        };
        if let Some(host) = host {
            host.end().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers what the cell asks for while it runs.
async fn serve(host: &RustHost, queries: Option<&dyn Host>) {
    match queries {
        Some(queries) => host.serve(queries).await,
        None => std::future::pending().await,
    }
}

async fn ask(host: &RustHost, request: impl FnOnce(u64) -> HostRequest) -> Option<HostEvent> {
    let id = host.new_id();
    let answer = host.routes.ask(id)?;
    let asked = async {
        host.send(request(id)).await.then_some(())?;
        answer.await.ok()
    };
    tokio::time::timeout(QUESTION_TIMEOUT, asked)
        .await
        .ok()
        .flatten()
}

fn host_died(when: &str) -> CellError {
    let evalue = format!("the Rust host ended {when}: Rust's variables are gone");
    let traceback = vec![
        format!("HostError: {evalue}"),
        "  help: the next Rust cell starts it again; `BIREME_LOG=bireme_rust=debug` logs what it says".to_owned(),
    ];
    CellError::new("HostError", evalue).with_traceback(traceback)
}
