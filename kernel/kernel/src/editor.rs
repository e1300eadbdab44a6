//! Completion, documentation and completeness while a cell is being typed. Magics and SQL answer
//! from names that are known already; Rust is asked when it is up, and else started.

use crate::kernel_state::KernelState;
use crate::{bundles, completeness};
use bireme_jupyter::wire::{
    CompleteReply, CompleteRequest, CompletionType, InspectReply, InspectRequest, IsCompleteReply,
};
use bireme_magics::completion::{self, Completeness, Completion};
use bireme_px::host_protocol::{HostEvent, HostRequest};

/// Completes at the cursor.
pub(crate) async fn complete(state: &KernelState, request: &CompleteRequest) -> CompleteReply {
    let names = state.names.with(&state.parameters);
    if let Some(found) = completion::complete(&request.code, request.cursor_pos, &names) {
        return reply(&found);
    }
    let cursor = request.cursor_byte();
    let code = blank_magics(&request.code);
    let answer = ask(state, |id| HostRequest::Complete { id, code, cursor }).await;
    match answer {
        Some(HostEvent::Completions {
            start, end, items, ..
        }) => {
            let character = |byte: usize| {
                let text = request.code.get(..byte).unwrap_or(&request.code);
                text.chars().count()
            };
            let types: Vec<CompletionType> = items
                .into_iter()
                .map(|item| CompletionType {
                    text: item.text,
                    kind: item.kind,
                    signature: item.label,
                })
                .collect();
            CompleteReply::typed(character(start), character(end), &types)
        }
        _ => CompleteReply::empty(request.cursor_pos),
    }
}

fn reply(found: &Completion) -> CompleteReply {
    let types: Vec<CompletionType> = found
        .matches
        .iter()
        .map(|one| CompletionType {
            text: one.text.clone(),
            kind: one.kind.name().to_owned(),
            signature: one.detail.clone(),
        })
        .collect();
    CompleteReply::typed(found.start, found.end, &types)
}

/// Describes what is at the cursor.
pub(crate) async fn inspect(state: &KernelState, request: &InspectRequest) -> InspectReply {
    let names = state.names.with(&state.parameters);
    if let Some(page) = completion::inspect(&request.code, request.cursor_pos, &names) {
        return InspectReply::found(bundles::from_magic(&page));
    }
    let cursor = request.cursor_byte();
    let code = blank_magics(&request.code);
    let answer = ask(state, |id| HostRequest::Inspect { id, code, cursor }).await;
    match answer {
        Some(HostEvent::Inspection {
            bundle: Some(bundle),
            ..
        }) => {
            let (data, metadata) = bundles::from_rust(bundle);
            InspectReply {
                metadata,
                ..InspectReply::found(data)
            }
        }
        _ => InspectReply::not_found(),
    }
}

/// Lines of magics as blanks, so that the compiler sees Rust and every byte stays in its place.
fn blank_magics(code: &str) -> String {
    let blank = |line: &str| match line.trim_start().starts_with('%') {
        true => " ".repeat(line.len()),
        false => line.to_owned(),
    };
    code.split('\n').map(blank).collect::<Vec<_>>().join("\n")
}

/// Asks the Rust host; the first question starts it, for those that follow.
async fn ask(state: &KernelState, request: impl FnOnce(u64) -> HostRequest) -> Option<HostEvent> {
    start_rust(state);
    state.rust.ask(request).await
}

/// Somebody is typing Rust: it will be needed.
fn start_rust(state: &KernelState) {
    if state.rust_starts_by_itself() {
        state.rust.warm_up(&state.settings.current());
    }
}

/// Judges whether a console may run a cell.
pub(crate) fn is_complete(state: &KernelState, code: &str) -> IsCompleteReply {
    match completion::is_complete(code) {
        Completeness::Complete => IsCompleteReply::Complete,
        Completeness::Incomplete => IsCompleteReply::Incomplete {
            indent: String::new(),
        },
        Completeness::Invalid => IsCompleteReply::Invalid,
        Completeness::Rust(body) => {
            start_rust(state);
            completeness::judge(&body.text)
        }
    }
}
