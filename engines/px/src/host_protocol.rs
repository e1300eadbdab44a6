//! What the kernel and the Rust host say to each other, over the stdin and stdout of
//! `bireme-rust host`, one [`crate::frame`] each.
//!
//! The kernel sends [`HostRequest`]s at any time. The Rust host sends [`HostEvent::Ready`] once, then for
//! every [`HostRequest::Eval`] its output, displays and result as they happen and one
//! [`HostEvent::EvalDone`] at the end. Evaluations run one after the other; questions about code are
//! answered beside them. [`HostRequest::Interrupt`], [`HostRequest::Input`] and
//! [`HostRequest::Shutdown`] are heard at once. The Rust host exits when its stdin ends.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Environment variable that tells the Rust host the setting `rust.prelude_crates`.
pub const PRELUDE_CRATES_ENV: &str = "BIREME_PRELUDE_CRATES";

/// How `bireme-rust prepare` exits where cells can run, but without the crates of the prelude.
pub const WITHOUT_PRELUDE: u8 = 4;

/// What the kernel asks of the Rust host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostRequest {
    /// Compile and run a cell. Answered by [`HostEvent::EvalDone`].
    Eval {
        /// Chosen by the kernel; comes back in every event of this cell.
        id: u64,
        /// The cell.
        code: String,
        /// How errors call this cell, for example `cell [5]`.
        label: String,
    },
    /// Completions at a cursor. Answered by [`HostEvent::Completions`].
    Complete {
        /// Comes back in the answer.
        id: u64,
        /// The code being typed.
        code: String,
        /// Byte offset of the cursor.
        cursor: usize,
    },
    /// Documentation of what stands before a cursor. Answered by [`HostEvent::Inspection`].
    Inspect {
        /// Comes back in the answer.
        id: u64,
        /// The code being looked at.
        code: String,
        /// Byte offset of the cursor.
        cursor: usize,
    },
    /// The variables that persist. Answered by [`HostEvent::Variables`].
    Variables {
        /// Comes back in the answer.
        id: u64,
    },
    /// A line for the standard input of the running cell.
    Input {
        /// Without its newline.
        line: String,
    },
    /// Stop the running evaluation. It ends with an [`HostEvent::EvalDone`] within 500 ms.
    Interrupt,
    /// End the Rust host and everything below it.
    Shutdown,
}

/// What the Rust host tells the kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum HostEvent {
    /// Cells can run.
    Ready {
        /// The compiler, as `rustc --version` says.
        rustc: String,
        /// Milliseconds from process start to here.
        start_ms: u64,
    },
    /// The Rust host could not start; it exits after this.
    Failed {
        /// Why, and what to do.
        error: CellError,
    },
    /// Something that takes long, in one line; an empty text takes it back.
    Progress {
        /// The cell that waits for it, if one does.
        id: Option<u64>,
        /// For example `compiling the bireme crate, once (12 of 31)`.
        text: String,
    },
    /// The cell is compiled and begins to run.
    Started {
        /// The cell.
        id: u64,
    },
    /// The running cell waits for a line of standard input; said once per line.
    InputWanted {
        /// The cell.
        id: u64,
        /// How to ask for it.
        request: InputRequest,
    },
    /// Bytes a cell wrote; they are the frame's body, in any encoding and cut anywhere.
    Output {
        /// The cell that runs or ran last; none before the first.
        id: Option<u64>,
        /// Where it wrote.
        stream: OutputStream,
    },
    /// Something to show, or to show anew.
    Display {
        /// The cell that runs or ran last.
        id: Option<u64>,
        /// What to show.
        bundle: Bundle,
        /// Set when the display can be updated later.
        display_id: Option<String>,
        /// Whether this replaces what was shown under the same `display_id`.
        update: bool,
    },
    /// The value of the cell's last expression.
    Result {
        /// The cell.
        id: u64,
        /// What to show.
        bundle: Bundle,
    },
    /// The end of an evaluation; nothing of it follows.
    EvalDone {
        /// The cell.
        id: u64,
        /// How it ended.
        outcome: Outcome,
        /// Variables of earlier cells that are gone, because the process that held them ended.
        #[serde(default)]
        lost_variables: Vec<String>,
    },
    /// Answer to [`HostRequest::Complete`].
    Completions {
        /// The request.
        id: u64,
        /// Byte offset where the replaced text starts.
        start: usize,
        /// Byte offset where it ends.
        end: usize,
        /// What could stand there.
        items: Vec<CompletionItem>,
        /// Whether nothing was looked up because a cell is being evaluated.
        busy: bool,
    },
    /// Answer to [`HostRequest::Inspect`]; none when there is nothing to say.
    Inspection {
        /// The request.
        id: u64,
        /// The documentation.
        bundle: Option<Bundle>,
    },
    /// Answer to [`HostRequest::Variables`].
    Variables {
        /// The request.
        id: u64,
        /// Sorted by name.
        variables: Vec<Variable>,
    },
}

/// How a line of standard input is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRequest {
    /// What the crate `evcxr_input` asks the user with; empty for a cell that just reads.
    pub prompt: String,
    /// Whether what is typed is not to be seen.
    pub is_password: bool,
}

/// One of the two streams of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

/// One value in several representations, as Jupyter's `data` and `metadata`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// Content by MIME type.
    pub data: Map<String, Value>,
    /// Metadata by MIME type.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// How an evaluation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// As written.
    Ok,
    /// The cell failed.
    Error(CellError),
}

/// Why a cell failed, in the parts a Jupyter `error` message wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellError {
    /// One of `CompileError`, `Panic`, `Error` (a failed `?`), `Cancelled` (interrupted), `Crashed`,
    /// `Exited`, `HostError`.
    pub ename: String,
    /// One line.
    pub evalue: String,
    /// The report, line by line, without colours.
    pub traceback: Vec<String>,
}

/// One completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletionItem {
    /// What replaces the text between start and end.
    pub text: String,
    /// What kind of thing it is, in Jupyter's words.
    pub kind: String,
    /// How a list shows it.
    pub label: String,
}

/// A variable that persists between cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_name: String,
}
