//! What is brought into a session before a cell runs: the `bireme` crate, and crates of the prelude that
//! the cell uses.
//!
//! Both are compiled elsewhere, and a session only links them. A new dependency costs variables whose types
//! were defined in cells, so the user is told.

use crate::cell_crate::{self, LINK_LIMIT};
use crate::cell_error;
use crate::evaluator::{Evaluator, NEW_DEPENDENCY};
use crate::prelude_crates::{PreludeCrate, PreludeCrates};
use crate::rewrite::{commands, crates_named, mentions, rewrite, uses};
use bireme_px::host_protocol::HostEvent;
use std::time::Duration;

/// Also replaces the module that every cell compiles by what the crate has compiled. The cell host looks for
/// functions of it in a cell's library and those that it needs, so each has to need the crate's.
const USE_CRATE: &str = "use bireme::prelude::*;\n\
    #[doc(hidden)]\nmod __bireme {\n\
    pub use ::bireme::cell::*;\n\
    #[unsafe(no_mangle)]\n\
    static BIREME_CELL: extern \"C\" fn() = bireme_cell_end;\n\
    }";

/// The prelude crates of a session, and which of them it has.
pub(crate) struct PreludeUse {
    crates: PreludeCrates,
    key: String,
    brought_in: Vec<PreludeCrate>,
    /// A cell has brought in other crates, whose versions are not to be changed.
    has_others: bool,
}

impl PreludeUse {
    pub(crate) fn new(crates: PreludeCrates) -> PreludeUse {
        PreludeUse {
            key: crates.key(),
            crates,
            brought_in: Vec::new(),
            has_others: false,
        }
    }

    /// evcxr has forgotten all.
    pub(crate) fn forget(&mut self) {
        self.brought_in.clear();
        self.has_others = false;
    }

    /// Crates a cell uses and the session does not have yet, and whether a command of the cell brings each in.
    fn wanted(&mut self, code: &str) -> Vec<(PreludeCrate, bool)> {
        let (commands, named) = (commands(code), crates_named(code));
        let mut wanted = Vec::new();
        for one in self.crates.iter() {
            let is_command = commands.iter().any(|line| one.is_brought_in_by(line));
            let is_new = !self.brought_in.contains(one);
            if is_new && (is_command || named.contains(&one.ident())) {
                wanted.push((one.clone(), is_command));
            }
        }
        let is_ours = |line: &String| self.crates.iter().any(|one| one.is_brought_in_by(line));
        let has_others = commands
            .iter()
            .any(|line| line.starts_with(":dep") && !is_ours(line));
        self.has_others |= has_others;
        wanted
    }
}

impl Evaluator {
    /// Brings the `bireme` crate in, when it is compiled, not there yet, and costs no variable. False
    /// when that failed.
    pub fn load_crate_if_free(&mut self) -> bool {
        if self.crate_loaded || !self.loader.is_compiled() || !self.endangered().is_empty() {
            return true;
        }
        let (id, text) = (None, "bringing in the bireme crate".to_string());
        self.emitter.send(&HostEvent::Progress { id, text });
        self.relay.begin(None);
        // Nobody waits for this: a cell that comes meanwhile is not to wait either.
        let loaded = self.load_crate(Duration::ZERO);
        if let Err(reason) = &loaded {
            tracing::error!(reason, "the bireme crate could not be brought in");
        }
        self.relay.end(false);
        let (id, text) = (None, String::new());
        self.emitter.send(&HostEvent::Progress { id, text });
        loaded.is_ok()
    }

    /// Brings in crates of the prelude that are compiled and that a cell names.
    pub(crate) fn provide_prelude(&mut self, id: u64, code: &str) {
        let is_there =
            self.loader.is_compiled() && self.loader.cell_crate().has_prelude(&self.prelude.key);
        let wanted = self.prelude.wanted(code);
        if !is_there || wanted.is_empty() {
            return;
        }
        let endangered = self.endangered();
        if !endangered.is_empty() && wanted.iter().any(|(_, is_command)| !is_command) {
            self.warn(id, NEW_DEPENDENCY, &endangered);
        }
        if let Err(reason) = self.bring_in(wanted)
            && !self.evaluations.is_interrupted()
        {
            let text = format!("warning: the cell runs without crates of the prelude: {reason}\n");
            self.tell_error_text(id, &text);
        }
    }

    fn bring_in(&mut self, wanted: Vec<(PreludeCrate, bool)>) -> Result<(), String> {
        if !self.crate_loaded {
            self.load_crate(LINK_LIMIT)?;
        }
        if !self.prelude.has_others {
            let cell_crate = self.loader.cell_crate();
            cell_crate
                .provide_prelude(&self.prelude.key, &self.cell_directory)
                .map_err(|error| error.to_string())?;
        }
        let missing = wanted.iter().filter(|(_, is_command)| !is_command);
        let lines: Vec<String> = missing
            .map(|(one, _)| format!(":dep {}\n", one.dependency()))
            .collect();
        if !lines.is_empty() {
            let code = lines.concat();
            self.context
                .execute(&code)
                .map_err(|error| cell_error::describe(&error))?;
            self.analyst.outline().note(&rewrite(&code));
        }
        let brought_in = wanted.into_iter().map(|(one, _)| one);
        self.prelude.brought_in.extend(brought_in);
        Ok(())
    }

    /// Brings the `bireme` crate in for a cell that seems to use it. The cell runs without it when
    /// that fails: the name may be its own.
    pub(crate) fn provide_crate(&mut self, id: u64, code: &str) {
        if self.crate_loaded || !uses(code, &cell_crate::NAMES) {
            return;
        }
        self.loader.retry();
        let provided = self.loader.wait(id).and_then(|()| {
            let endangered = self.endangered();
            if !endangered.is_empty() {
                self.warn(id, NEW_DEPENDENCY, &endangered);
            }
            self.load_crate(LINK_LIMIT).map_err(Some)
        });
        if let Err(Some(reason)) = provided
            && !self.evaluations.is_interrupted()
        {
            let text = format!("warning: the cell runs without the bireme crate: {reason}\n");
            self.tell_error_text(id, &text);
        }
    }

    fn load_crate(&mut self, wait: Duration) -> Result<(), String> {
        let cell_crate = self.loader.cell_crate();
        cell_crate
            .link_into(&self.cell_directory, wait)
            .map_err(|error| error.to_string())?;
        let code = format!(":dep {}\n{USE_CRATE}", cell_crate.dependency());
        self.context
            .execute(&code)
            .map_err(|error| cell_error::describe(&error))?;
        self.crate_loaded = true;
        let mut outline = self.analyst.outline();
        outline.note(&rewrite(&code));
        Ok(())
    }

    /// Variables a new dependency would cost: those whose types name an item of a cell.
    pub(crate) fn endangered(&self) -> Vec<String> {
        let items: Vec<&str> = self.context.defined_item_names().collect();
        self.context
            .variables_and_types()
            .filter(|(_, type_name)| mentions(type_name, &items))
            .map(|(name, _)| name.to_string())
            .collect()
    }
}
