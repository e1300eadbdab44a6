//! Questions about code that is being typed, put to one evcxr.

use bireme_px::host_protocol::{Bundle, CompletionItem, HostEvent};
use evcxr::CommandContext;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Asked once so that the first question does not pay for evcxr's first look at types.
const WARM_UP: &str = "let warm = vec![1u8]; warm.le";
const NOTHING: &str = "No documentation found";

/// Makes evcxr look at types.
pub(crate) fn warm_up(context: &mut CommandContext) {
    let _ = context.completions(WARM_UP, WARM_UP.len());
}

/// What could stand at a cursor.
pub(crate) fn complete(
    context: &mut CommandContext,
    id: u64,
    code: &str,
    cursor: usize,
) -> HostEvent {
    let cursor = floor(code, cursor);
    let context = AssertUnwindSafe(context);
    let found = catch_unwind(move || {
        let context = context;
        context.0.completions(code, cursor)
    });
    let Ok(Ok(found)) = found else {
        return nothing(id, cursor, false);
    };
    let items = found.completions.into_iter().map(|one| CompletionItem {
        text: one.code,
        kind: one.kind.to_string(),
        label: one.label,
    });
    HostEvent::Completions {
        id,
        start: found.start_offset,
        end: found.end_offset,
        items: items.collect(),
        busy: false,
    }
}

/// The answer without completions.
pub(crate) fn nothing(id: u64, cursor: usize, busy: bool) -> HostEvent {
    HostEvent::Completions {
        id,
        start: cursor,
        end: cursor,
        items: Vec::new(),
        busy,
    }
}

/// The documentation of the name a cursor stands in or behind.
pub(crate) fn inspect(
    context: &mut CommandContext,
    id: u64,
    code: &str,
    cursor: usize,
) -> HostEvent {
    let end = name_end(code, floor(code, cursor));
    let context = AssertUnwindSafe(context);
    let found = catch_unwind(move || {
        let context = context;
        context.0.hover_at(code, end)
    });
    let bundle = match found {
        Ok(Ok((plain, html))) if plain != NOTHING => {
            let mut bundle = Bundle::default();
            let data = &mut bundle.data;
            data.insert("text/plain".into(), Value::String(plain));
            data.insert("text/html".into(), Value::String(html));
            Some(bundle)
        }
        _ => None,
    };
    HostEvent::Inspection { id, bundle }
}

/// The nearest place at or before a byte offset where a character begins.
pub(crate) fn floor(code: &str, offset: usize) -> usize {
    let offset = offset.min(code.len());
    (0..=offset)
        .rev()
        .find(|at| code.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The end of the name that a place is in or behind.
pub(crate) fn name_end(code: &str, at: usize) -> usize {
    let rest = &code[at..];
    let length = rest
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(rest.len());
    at + length
}
