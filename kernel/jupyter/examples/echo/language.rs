//! A language of one-line commands, enough to exercise every part of the framework.
//!
//! A line that is no command is its own value. Several lines run in order.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bireme_jupyter::wire::{
    CellError, CommMessage, CommOpen, CompleteReply, CompleteRequest, CompletionType,
    HistoryAccess, HistoryEntry, HistoryReply, HistoryRequest, InspectReply, InspectRequest,
    IsCompleteReply, IsCompleteRequest, JsonMap, KernelInfo, LanguageInfo, MimeBundle,
};
use bireme_jupyter::{ControlHandler, ExecuteContext, Output, ShellHandler};

/// The commands and what they do.
const COMMANDS: &[(&str, &str)] = &[
    ("ask", "ask PROMPT: asks for a line and prints it"),
    (
        "ask_secret",
        "ask_secret PROMPT: asks for a password and prints it",
    ),
    ("clear", "clear: removes the output so far"),
    ("display", "display TEXT: shows TEXT as plain text and html"),
    (
        "displays",
        "displays N BYTES: shows N texts of BYTES bytes each",
    ),
    ("eprint", "eprint TEXT: prints TEXT to standard error"),
    ("fail", "fail TEXT: ends the cell with an error"),
    ("flood", "flood N: prints N numbered lines"),
    ("next", "next TEXT: puts TEXT in the next cell"),
    ("page", "page TEXT: shows TEXT in the pager"),
    ("panic", "panic: the handler panics"),
    ("print", "print TEXT: prints TEXT and a newline"),
    ("sleep", "sleep MS: waits, and fails when interrupted"),
    ("stubborn", "stubborn MS: waits, whatever happens"),
    ("update", "update TEXT: replaces what was displayed last"),
];

/// The kernel.
#[derive(Default)]
pub(crate) struct Echo {
    history: Mutex<Vec<HistoryEntry>>,
    /// How often it was told to shut down.
    pub(crate) shutdowns: AtomicU32,
}

impl Echo {
    fn lock_history(&self) -> MutexGuard<'_, Vec<HistoryEntry>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ShellHandler for Echo {
    fn kernel_info(&self) -> KernelInfo {
        let language = LanguageInfo {
            name: "echo".to_owned(),
            version: "1.0".to_owned(),
            mimetype: "text/plain".to_owned(),
            file_extension: ".echo".to_owned(),
            ..LanguageInfo::default()
        };
        KernelInfo::new("echo", env!("CARGO_PKG_VERSION"), language)
    }

    async fn execute(&self, context: ExecuteContext) -> Result<(), CellError> {
        let mut value = None;
        for line in context.code().lines() {
            value = run_line(&context, line.trim()).await?;
        }
        if let Some(value) = &value {
            context.execute_result(MimeBundle::text(value), JsonMap::new());
        }
        if context.request().counts() {
            self.lock_history().push(HistoryEntry {
                session: 1,
                line: i64::from(context.execution_count()),
                input: context.code().to_owned(),
                output: value,
            });
        }
        Ok(())
    }

    async fn complete(&self, request: CompleteRequest) -> CompleteReply {
        let before = &request.code[..request.cursor_byte()];
        let word = before
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or_default();
        let matches: Vec<CompletionType> = COMMANDS
            .iter()
            .filter(|(name, _)| name.starts_with(word))
            .map(|(name, help)| CompletionType {
                text: (*name).to_owned(),
                kind: "command".to_owned(),
                signature: (*help).to_owned(),
            })
            .collect();
        let start = request.cursor_pos.saturating_sub(word.chars().count());
        CompleteReply::typed(start, request.cursor_pos, &matches)
    }

    async fn inspect(&self, request: InspectRequest) -> InspectReply {
        let before = &request.code[..request.cursor_byte()];
        let word = before
            .rsplit(char::is_whitespace)
            .next()
            .unwrap_or_default();
        match COMMANDS.iter().find(|(name, _)| *name == word) {
            Some((_, help)) => InspectReply::found(MimeBundle::text(*help)),
            None => InspectReply::not_found(),
        }
    }

    async fn is_complete(&self, request: IsCompleteRequest) -> IsCompleteReply {
        let code = request.code.trim_end();
        if code.starts_with(')') {
            IsCompleteReply::Invalid
        } else if code.ends_with('\\') {
            IsCompleteReply::Incomplete {
                indent: "  ".to_owned(),
            }
        } else {
            IsCompleteReply::Complete
        }
    }

    async fn history(&self, request: HistoryRequest) -> HistoryReply {
        let entries = self.lock_history().clone();
        let last = |entries: Vec<HistoryEntry>, n: Option<usize>| {
            let skipped = entries.len().saturating_sub(n.unwrap_or(entries.len()));
            entries.into_iter().skip(skipped).collect()
        };
        let entries = match request.access {
            HistoryAccess::Tail { n } => last(entries, n),
            HistoryAccess::Range { start, stop, .. } => {
                let range = start..stop.unwrap_or(i64::MAX);
                entries
                    .into_iter()
                    .filter(|entry| range.contains(&entry.line))
                    .collect()
            }
            HistoryAccess::Search { pattern, n, unique } => {
                let mut found: Vec<HistoryEntry> = Vec::new();
                for entry in entries.into_iter().filter(|one| glob(&pattern, &one.input)) {
                    found.retain(|earlier| !unique || earlier.input != entry.input);
                    found.push(entry);
                }
                last(found, n)
            }
        };
        HistoryReply { entries }
    }

    async fn comm_open(&self, output: Output, open: CommOpen) -> bool {
        if open.target_name != "echo" {
            return false;
        }
        let message = CommMessage {
            comm_id: open.comm_id,
            data: open.data,
        };
        output.comm_msg(&message, &JsonMap::new(), &[]);
        true
    }

    async fn comm_msg(&self, output: Output, message: CommMessage) {
        output.comm_msg(&message, &JsonMap::new(), &[]);
    }
}

#[async_trait]
impl ControlHandler for Echo {
    async fn shutdown(&self, _restart: bool) {
        self.shutdowns.fetch_add(1, Ordering::Relaxed);
    }

    async fn usage(&self) -> JsonMap {
        JsonMap::from_iter([("cells".to_owned(), self.lock_history().len().into())])
    }
}

/// Runs one line and returns its value.
async fn run_line(context: &ExecuteContext, line: &str) -> Result<Option<String>, CellError> {
    let (command, text) = line.split_once(' ').unwrap_or((line, ""));
    let output = context.output();
    match command {
        "print" => output.stdout(format!("{text}\n")),
        "eprint" => output.stderr(format!("{text}\n")),
        "display" => output.display_data(shown(text), JsonMap::new(), Some("echo")),
        "update" => output.update_display_data(shown(text), JsonMap::new(), "echo"),
        "clear" => output.clear_output(false),
        "page" => context.page(MimeBundle::text(text)),
        "next" => context.set_next_input(text, false),
        "fail" => return Err(CellError::new("EchoError", text)),
        "panic" => drop(line.as_bytes()[usize::MAX]),
        "ask" => output.stdout(format!("{}\n", context.input(text, false).await?)),
        "ask_secret" => output.stdout(format!("{}\n", context.input(text, true).await?)),
        "displays" => {
            let (number, bytes) = text.split_once(' ').unwrap_or((text, "1"));
            let shown = "x".repeat(usize::try_from(count(bytes)?).unwrap_or(usize::MAX));
            for _ in 0..count(number)? {
                output.display_data(MimeBundle::text(shown.as_str()), JsonMap::new(), None);
                tokio::task::yield_now().await;
            }
        }
        "flood" => {
            for number in 0..count(text)? {
                output.stdout(format!("line {number} of a flood of output\n"));
                if number % 1000 == 0 {
                    tokio::task::yield_now().await;
                    if context.cancellation().is_cancelled() {
                        return Err(CellError::interrupted());
                    }
                }
            }
        }
        "stubborn" => tokio::time::sleep(Duration::from_millis(count(text)?)).await,
        "sleep" => {
            let sleeping = tokio::time::sleep(Duration::from_millis(count(text)?));
            let slept = context.cancellation().run_until_cancelled(sleeping).await;
            slept.ok_or_else(CellError::interrupted)?;
        }
        _ => return Ok(Some(line.to_owned())),
    }
    Ok(None)
}

fn shown(text: &str) -> MimeBundle {
    MimeBundle::text(text).with_html(format!("<b>{text}</b>"))
}

fn count(text: &str) -> Result<u64, CellError> {
    text.parse()
        .map_err(|error| CellError::new("EchoError", format!("{text:?}: {error}")))
}

/// Matches `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    match first {
        '*' => {
            let mut ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.any(|at| glob(rest, &text[at..]))
        }
        _ => text.chars().next().is_some_and(|next| {
            (first == '?' || first == next) && glob(rest, &text[next.len_utf8()..])
        }),
    }
}
