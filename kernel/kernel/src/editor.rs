//! Completion, documentation and completeness while a cell is being typed. Magics and SQL answer
//! from names that are known already; Rust is asked when it is up and not busy.

use crate::bundles;
use crate::kernel_state::KernelState;
use bireme_jupyter::wire::{
    CompleteReply, CompleteRequest, CompletionType, InspectReply, InspectRequest, IsCompleteReply,
};
use bireme_magics::completion::{self, Completeness, Completion};
use bireme_px::host_protocol::{self as rust, HostEvent, HostRequest};

/// Completes at the cursor.
pub(crate) async fn complete(state: &KernelState, request: &CompleteRequest) -> CompleteReply {
    let names = state.names.with(&state.parameters);
    if let Some(found) = completion::complete(&request.code, request.cursor_pos, &names) {
        return reply(&found);
    }
    let cursor = request.cursor_byte();
    let code = blank_magics(&request.code);
    let answer = state
        .rust
        .ask(|id| HostRequest::Complete { id, code, cursor })
        .await;
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
    let answer = state
        .rust
        .ask(|id| HostRequest::Inspect { id, code, cursor })
        .await;
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

/// Judges whether a console may run a cell.
pub(crate) async fn is_complete(state: &KernelState, code: &str) -> IsCompleteReply {
    let body = match completion::is_complete(code) {
        Completeness::Complete => return IsCompleteReply::Complete,
        Completeness::Incomplete => {
            return IsCompleteReply::Incomplete {
                indent: String::new(),
            };
        }
        Completeness::Invalid => return IsCompleteReply::Invalid,
        Completeness::Rust(body) => body,
    };
    let text = body.text.clone();
    let asked = state
        .rust
        .ask(|id| HostRequest::IsComplete { id, code: text })
        .await;
    match asked {
        Some(HostEvent::Completeness { status, indent, .. }) => match status {
            rust::Completeness::Complete => IsCompleteReply::Complete,
            rust::Completeness::Incomplete => IsCompleteReply::Incomplete { indent },
            rust::Completeness::Invalid => IsCompleteReply::Invalid,
        },
        _ => crate::completeness::judge(&body.text),
    }
}
