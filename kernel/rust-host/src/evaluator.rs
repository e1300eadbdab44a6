//! Drives evcxr: compiles and runs cells, completes, documents.
//!
//! It lives on one thread and does one thing at a time. What a cell prints and shows goes from the relay
//! straight to the kernel; what remains here is to prepare the cell, to keep evcxr's record of
//! variables, and to say how the cell ended.

use crate::analyst_link::AnalystLink;
use crate::cell_crate::CompileSettings;
use crate::cell_error;
use crate::compiled_sources::CompiledSources;
use crate::crate_loader::CrateLoader;
use crate::dependency_path::with_whole_paths;
use crate::emitter::Emitter;
use crate::error::RustHostError;
use crate::evaluations::{Evaluations, interrupted_error};
use crate::outline::CLEAR;
use crate::prelude_crates::PreludeCrates;
use crate::provision::PreludeUse;
use crate::recorded_compile;
use crate::rewrite::{RewrittenCell, rewrite, uses};
use crate::typing;
use crate::variable_record::VariableRecord;
use bireme_px::host_protocol::{Bundle, CellError, HostEvent, Outcome, OutputStream, Variable};
use bireme_px::relay::{CellReport, Relay};
use evcxr::{CommandContext, Error, EvalContext, EvalContextOutputs, EvalOutputs};
use serde_json::Value;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// What every cell is compiled with.
pub(crate) const PRELUDE: &str = concat!(
    "#[doc(hidden)]\nmod __bireme {\n",
    include_str!("../../api/src/cell.rs"),
    "}\n",
    include_str!("../prelude/macros.rs")
);
const USE_TOKIO: &str = include_str!("../prelude/tokio.rs");

const DIED_BETWEEN_CELLS: &str = "the process of the cells died; variables that are lost";
const OTHER_OPTIMISATION: &str = "another optimisation compiles the types that were defined in cells anew; \
                                  variables that are lost";
pub(crate) const NEW_DEPENDENCY: &str = "a new dependency compiles the types that were defined in cells anew; \
                                         variables that are lost once it is there";

/// evcxr with what surrounds it.
pub struct Evaluator {
    pub(crate) context: CommandContext,
    /// Kept so that evcxr has somebody to talk to; the relay leaves it nothing to say.
    _outputs: EvalContextOutputs,
    pub(crate) relay: Arc<Relay>,
    pub(crate) emitter: Arc<Emitter>,
    pub(crate) evaluations: Arc<Evaluations>,
    pub(crate) loader: Arc<CrateLoader>,
    pub(crate) analyst: Arc<AnalystLink>,
    pub(crate) cell_directory: PathBuf,
    notebook: PathBuf,
    /// Why types of variables cannot be told, and what to do.
    without_sources: Option<String>,
    /// The linker evcxr chose.
    linker: String,
    sources: CompiledSources,
    record: VariableRecord,
    /// Variables that are gone because a cell moved them, and which.
    moved: BTreeMap<String, String>,
    /// Variables that are lost and that no answer told of.
    untold: Vec<String>,
    pub(crate) crate_loaded: bool,
    pub(crate) prelude: PreludeUse,
}

/// How an evaluation went.
struct Attempt {
    outcome: Result<(), CellError>,
    /// Variables of earlier cells that are gone.
    lost_variables: Vec<String>,
    /// False when evcxr broke.
    is_sound: bool,
}

impl Attempt {
    fn new(outcome: Result<(), CellError>, lost_variables: Vec<String>) -> Attempt {
        Attempt {
            outcome,
            lost_variables,
            is_sound: true,
        }
    }
}

/// What an evaluator works with.
pub struct Surroundings {
    /// Tells output.
    pub relay: Arc<Relay>,
    /// Tells the rest.
    pub emitter: Arc<Emitter>,
    /// Knows of interrupts.
    pub evaluations: Arc<Evaluations>,
    /// Provides the `bireme` crate.
    pub loader: Arc<CrateLoader>,
    /// Answers questions while a cell is evaluated.
    pub analyst: Arc<AnalystLink>,
    /// Crates that are compiled ahead of time.
    pub prelude: PreludeCrates,
    /// Where evcxr compiles.
    pub cell_directory: PathBuf,
    /// Where it finds what it starts for that.
    pub tools: PathBuf,
    /// Where the notebook is.
    pub notebook: PathBuf,
    /// Why types of variables cannot be told, and what to do.
    pub without_sources: Option<String>,
}

impl Evaluator {
    /// Starts evcxr with a cell host; takes seconds.
    ///
    /// # Errors
    /// When there is no usable toolchain.
    pub fn start(
        cell_host: Command,
        surroundings: Surroundings,
    ) -> Result<Evaluator, RustHostError> {
        let (context, outputs) = EvalContext::with_subprocess_command(cell_host)
            .map_err(|error| start_error(&error.to_string()))?;
        let mut context = CommandContext::with_eval_context(context);
        let answer = context.execute(":linker");
        let answer = answer.map_err(|error| start_error(&error.to_string()))?;
        let linker = answer.get("text/plain").unwrap_or("linker: system");
        let linker = linker.trim_start_matches("linker: ").to_string();
        for command in recorded_compile::install(&surroundings.tools, &linker) {
            context
                .execute(&command)
                .map_err(|error| start_error(&error.to_string()))?;
        }
        context
            .execute(PRELUDE)
            .map_err(|error| RustHostError::Prelude {
                reason: cell_error::describe(&error),
            })?;
        let Surroundings {
            relay,
            emitter,
            evaluations,
            loader,
            analyst,
            prelude,
            cell_directory,
            tools: _,
            notebook,
            without_sources,
        } = surroundings;
        evaluations.set_cell_host(context.process_handle());
        Ok(Evaluator {
            context,
            _outputs: outputs,
            relay,
            emitter,
            evaluations,
            loader,
            analyst,
            cell_directory,
            notebook,
            without_sources,
            linker,
            sources: CompiledSources::default(),
            record: VariableRecord::default(),
            moved: BTreeMap::new(),
            untold: Vec::new(),
            crate_loaded: false,
            prelude: PreludeUse::new(prelude),
        })
    }

    /// How this session compiles, for the crate to be compiled alike.
    ///
    /// # Errors
    /// When evcxr's manifest cannot be read.
    pub fn compile_settings(&self) -> Result<CompileSettings, RustHostError> {
        let path = self.cell_directory.join("Cargo.toml");
        let manifest = std::fs::read_to_string(&path)
            .map_err(|error| RustHostError::io(format!("read {}", path.display()), error))?;
        let linker = self.linker.clone();
        Ok(CompileSettings { manifest, linker })
    }

    /// Makes evcxr look at types once, so that the first cell does not have to.
    pub fn warm_up(&mut self) {
        typing::warm_up(&mut self.context);
    }

    /// Compiles and runs a cell, and answers it. False when evcxr broke and the process must end.
    pub fn evaluate(&mut self, id: u64, code: &str, label: &str) -> bool {
        let attempt = self.attempt(id, code, label);
        let outcome = attempt
            .outcome
            .map_or_else(Outcome::Error, |()| Outcome::Ok);
        self.untold = self.evaluations.finish(id, outcome, attempt.lost_variables);
        attempt.is_sound
    }

    fn attempt(&mut self, id: u64, code: &str, label: &str) -> Attempt {
        let code = &*with_whole_paths(code, &self.notebook);
        self.relay.begin(None);
        self.provide_crate(id, code);
        self.provide_prelude(id, code);
        let mut cell = rewrite(code);
        let outdated = self.outdated(id, &cell);
        let mut lost = self.lost_between_cells(id, &outdated);
        if !outdated.is_empty() {
            self.forget_now();
        }
        self.relay.begin(Some(id));
        if self.evaluations.is_interrupted() {
            self.relay.end(false);
            return Attempt::new(Err(interrupted_error()), lost);
        }
        if cell.adds("tokio", &["rt", "full"]) {
            cell = cell.with_items(USE_TOKIO);
        }
        self.warn_of_lost_variables(id, &cell);
        self.sources.push_cell(label, &cell);
        let mut variables = self.names();
        self.record.note(&self.relay, &variables);
        let at_risk = self.record.at_risk(&self.relay, &variables);
        self.evaluations.set_variables(&at_risk);
        self.tell_compiling(id, &cell);
        let (mut result, mut report) = self.execute(&cell.code);
        if was_dead(&result, &report) && !self.evaluations.is_interrupted() {
            self.warn(id, DIED_BETWEEN_CELLS, &variables);
            lost.append(&mut variables);
            self.relay.begin(Some(id));
            (result, report) = self.execute(&cell.code);
        }
        let is_sound = result.is_some();
        let died = !is_sound || matches!(result, Some(Err(Error::SubprocessTerminated(_))));
        let mut outcome = self.outcome(id, label, &cell, result, &report);
        if died {
            self.record.clear();
            outcome = outcome.map_err(|error| cell_error::with_lost(error, &variables));
            lost.append(&mut variables);
        } else if report.death.is_some() {
            let mut gone = self.record.lost(&self.relay, &variables, &[]);
            let unsaved = report.unsaved.as_deref();
            outcome = outcome.map_err(|error| cell_error::with_snapshot(error, &gone, unsaved));
            lost.append(&mut gone);
        }
        let left = self.names();
        lost.extend(outdated.into_iter().filter(|name| !left.contains(name)));
        if outcome.is_ok() {
            self.note_moved(label, &cell, &variables, &left);
        }
        if outcome.is_ok() && cell.commands.iter().any(|command| command == CLEAR) {
            self.restore_prelude();
        }
        self.tell_analyst(outcome.is_ok().then_some(&cell));
        Attempt {
            is_sound,
            ..Attempt::new(outcome, lost)
        }
    }

    /// What became of a cell, from evcxr's answer and what the relay saw.
    fn outcome(
        &mut self,
        id: u64,
        label: &str,
        cell: &RewrittenCell,
        result: Option<Result<EvalOutputs, Error>>,
        report: &CellReport,
    ) -> Result<(), CellError> {
        match result {
            None => Err(cell_error::broken()),
            Some(Ok(outputs)) => self.returned(id, outputs, report),
            Some(Err(_)) if self.evaluations.is_interrupted() => Err(interrupted_error()),
            Some(Err(_)) if report.rolled_back => Err(self.failure(report)),
            Some(Err(Error::SubprocessTerminated(reason))) => Err(cell_error::host_ended(&reason)),
            Some(Err(Error::CompilationErrors(errors))) => {
                let error = cell_error::compile(label, cell, &errors);
                Err(cell_error::with_moved(error, &self.moved))
            }
            Some(Err(error)) => {
                let without_sources = self.without_sources.as_deref();
                let text = error.to_string();
                Err(cell_error::compiler_message(&text, without_sources))
            }
        }
    }

    /// What every cell is compiled with, after evcxr has forgotten all.
    fn restore_prelude(&mut self) {
        self.crate_loaded = false;
        self.prelude.forget();
        self.relay.begin(None);
        if let Err(error) = self.context.execute(PRELUDE) {
            let reason = cell_error::describe(&error);
            tracing::error!(reason, "cells show no values any more");
        }
        self.relay.end(false);
    }

    /// What the analyst has to know of a cell, if it succeeded, and of the variables after it.
    fn tell_analyst(&self, succeeded: Option<&RewrittenCell>) {
        let mut outline = self.analyst.outline();
        if let Some(cell) = succeeded {
            outline.note(cell);
        }
        outline.set_variables(self.variables());
    }

    /// A cell has ended well: which variables it has moved away. Those it does not name went otherwise.
    fn note_moved(
        &mut self,
        label: &str,
        cell: &RewrittenCell,
        before: &[String],
        left: &[String],
    ) {
        self.moved.retain(|name, _| !left.contains(name));
        let gone = before
            .iter()
            .filter(|name| !left.contains(name) && uses(&cell.user_code, &[name]));
        let gone = gone.map(|name| (name.clone(), label.to_string()));
        self.moved.extend(gone);
    }

    /// Variables that went with a process that died between two cells, or too late to be told of.
    fn lost_between_cells(&mut self, id: u64, outdated: &[String]) -> Vec<String> {
        let mut lost = std::mem::take(&mut self.untold);
        lost.extend(self.record.lost(&self.relay, &self.names(), outdated));
        if !lost.is_empty() {
            self.warn(id, DIED_BETWEEN_CELLS, &lost);
        }
        lost
    }

    fn names(&self) -> Vec<String> {
        self.variables().into_iter().map(|one| one.name).collect()
    }

    /// Says that the cell is being compiled; that it runs, the relay says.
    fn tell_compiling(&self, id: u64, cell: &RewrittenCell) {
        let has_dependency = cell.commands.iter().any(|line| line.starts_with(":dep"));
        let text = match has_dependency {
            true => "compiling dependencies",
            false => "compiling",
        };
        let (id, text) = (Some(id), text.to_string());
        self.emitter.send(&HostEvent::Progress { id, text });
    }

    /// Compiles and runs code; no result when evcxr panicked.
    fn execute(&mut self, code: &str) -> (Option<Result<EvalOutputs, Error>>, CellReport) {
        let result = catch_unwind(AssertUnwindSafe(|| self.context.execute(code))).ok();
        let died = matches!(result, Some(Err(Error::SubprocessTerminated(_))));
        let report = self.relay.end(died);
        if report.started
            && let Ok(source) = self.context.last_source()
        {
            self.sources.push(&report.library, source);
        }
        (result, report)
    }

    /// How a cell that ran to some end did.
    fn returned(
        &mut self,
        id: u64,
        outputs: EvalOutputs,
        report: &CellReport,
    ) -> Result<(), CellError> {
        if report.panicked {
            return Err(self.panic(report));
        }
        if report.returned_error {
            return Err(cell_error::question_mark(report.error.as_deref()));
        }
        // Only evcxr's own commands, such as `:vars`, answer this way.
        if !outputs.is_empty() {
            let mut bundle = Bundle::default();
            for (mime, content) in outputs.content_by_mime_type {
                bundle.data.insert(mime, Value::String(content));
            }
            self.emitter.send(&HostEvent::Result { id, bundle });
        }
        Ok(())
    }

    /// Why a cell was made undone.
    fn failure(&self, report: &CellReport) -> CellError {
        if let Some(reason) = &report.load_failure {
            return cell_error::plain("HostError", reason.clone(), Vec::new());
        }
        if report.skipped {
            return interrupted_error();
        }
        match &report.death {
            Some(status) => cell_error::ended(status),
            None => self.panic(report),
        }
    }

    fn panic(&self, report: &CellReport) -> CellError {
        let panic = report.panic.as_ref();
        let place = panic.and_then(|panic| self.sources.place(panic));
        cell_error::panic(panic, place)
    }

    fn warn_of_lost_variables(&self, id: u64, cell: &RewrittenCell) {
        let known = self.analyst.outline().dependencies().to_vec();
        // evcxr does nothing about a dependency that is there already.
        let has = |name| {
            let mut commands = cell.commands.iter();
            commands.any(|command| command.starts_with(name) && !known.contains(command))
        };
        let reason = match (has(":dep"), has(":opt")) {
            (true, _) => NEW_DEPENDENCY,
            (false, true) => OTHER_OPTIMISATION,
            (false, false) => return,
        };
        let endangered = self.endangered();
        if !endangered.is_empty() {
            self.warn(id, reason, &endangered);
        }
    }

    pub(crate) fn warn(&self, id: u64, reason: &str, variables: &[String]) {
        let names = variables.join(", ");
        let text = format!("warning: {reason}: {names}\n");
        self.tell_error_text(id, &text);
    }

    pub(crate) fn tell_error_text(&self, id: u64, text: &str) {
        let event = HostEvent::Output {
            id: Some(id),
            stream: OutputStream::Stderr,
        };
        self.emitter.send_with(&event, text.as_bytes());
    }

    /// The variables that persist, by name.
    pub fn variables(&self) -> Vec<Variable> {
        let mut variables: Vec<Variable> = self
            .context
            .variables_and_types()
            .map(|(name, type_name)| Variable {
                name: name.to_string(),
                type_name: type_name.to_string(),
            })
            .collect();
        variables.sort_by(|one, other| one.name.cmp(&other.name));
        variables
    }

    /// What could stand at a cursor.
    pub fn complete(&mut self, id: u64, code: &str, cursor: usize) -> HostEvent {
        typing::complete(&mut self.context, id, code, cursor)
    }

    /// The documentation of the name a cursor stands in or behind.
    pub fn inspect(&mut self, id: u64, code: &str, cursor: usize) -> HostEvent {
        typing::inspect(&mut self.context, id, code, cursor)
    }
}

/// Whether the cell host was dead before the cell could run.
fn was_dead(result: &Option<Result<EvalOutputs, Error>>, report: &CellReport) -> bool {
    let died = matches!(result, Some(Err(Error::SubprocessTerminated(_))));
    died && !report.started
}

fn start_error(reason: &str) -> RustHostError {
    RustHostError::Start {
        reason: format!(
            "{reason}; Rust cells need rustc and cargo 1.95 or later on the PATH (see https://rustup.rs)"
        ),
    }
}
