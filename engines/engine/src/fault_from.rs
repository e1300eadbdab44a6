//! Turns errors of the query library into faults: the kind, one line, the place in the statement
//! and what to do.

use bireme_collectives::fault_of;
use bireme_protocol::{ErrorCode, Fault, Position};
use datafusion::common::{Diagnostic, SchemaError, Span};
use datafusion::error::DataFusionError;
use std::error::Error;
use std::io;
use tonic::{Code, Status};

/// Most candidates a hint names.
const CANDIDATES_SHOWN: usize = 8;
/// A name is meant if it differs in at most a third of its characters.
const SIMILARITY_MIN: f64 = 0.66;

/// What a planning or execution error means to a user.
pub(crate) fn fault_from(error: &DataFusionError) -> Fault {
    if let Some(fault) = carried(error).or_else(|| broken_connection(error)) {
        return fault;
    }
    let mut fault = kind_and_message(error);
    if let Some(diagnostic) = diagnostic(error) {
        fault.position = fault.position.or_else(|| diagnostic.span.and_then(place));
        if fault.hint.is_none() {
            fault.hint = diagnostic.helps.first().map(|help| help.message.clone());
        }
    }
    fault
}

/// The name most like `name` among `candidates`.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::jaro_winkler(&lower, &c.to_lowercase()), c))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A fault that travelled inside an error of the library, or what a crate below says in its own
/// words.
fn carried(error: &DataFusionError) -> Option<Fault> {
    let fault = fault_of(error);
    // Where nothing of ours is inside, the message is the library's, whole.
    (fault.message != error.strip_backtrace()).then_some(fault)
}

/// A connection that broke under the query. Whoever knows the engines finds out whether one ended.
fn broken_connection(error: &DataFusionError) -> Option<Fault> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(source) = next {
        if let Some(status) = source.downcast_ref::<Status>() {
            return Some(of_status(status));
        }
        let broke = source.is::<tonic::transport::Error>()
            || source
                .downcast_ref::<io::Error>()
                .is_some_and(|error| is_of_connection(error.kind()));
        if broke {
            return Some(broken(&error.strip_backtrace()));
        }
        next = source.source();
    }
    None
}

/// Another engine's answer in place of rows.
fn of_status(status: &Status) -> Fault {
    // What has a source was made here, when nothing more could be read.
    let broke = status.source().is_some()
        || matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        );
    match broke && status.details().is_empty() {
        true => broken(status.message()),
        false => Fault::from(status.clone()),
    }
}

fn is_of_connection(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
    )
}

fn broken(what: &str) -> Fault {
    Fault::new(
        ErrorCode::Unavailable,
        format!("a connection of the query broke: {}", first_line(what)),
    )
    .with_hint("run it again; `bireme cluster status` shows whether an engine ended")
}

fn kind_and_message(error: &DataFusionError) -> Fault {
    let whole = |code| Fault::new(code, first_line(&error.strip_backtrace()));
    match error {
        DataFusionError::SQL(parser, _) => parse_error(&parser.to_string()),
        DataFusionError::SchemaError(schema, _) => schema_error(schema),
        DataFusionError::Plan(text) => plan_error(text),
        DataFusionError::NotImplemented(text) => Fault::new(
            ErrorCode::SqlPlanError,
            format!("not supported: {}", first_line(text)),
        ),
        DataFusionError::Configuration(_) => whole(ErrorCode::InvalidArgument),
        DataFusionError::ResourcesExhausted(text) => resources(text),
        DataFusionError::Context(context, inner) => {
            let fault = fault_from(inner);
            match context.is_empty() || fault.message.contains(context.as_str()) {
                true => fault,
                false => fault.with_cause(first_line(context)),
            }
        }
        DataFusionError::Diagnostic(_, inner) => fault_from(inner),
        DataFusionError::Shared(inner) => fault_from(inner),
        DataFusionError::Collection(errors) => match errors.first() {
            Some(first) => fault_from(first),
            None => whole(ErrorCode::ExecutionError),
        },
        DataFusionError::ArrowError(arrow, _) => {
            Fault::new(fault_of(error).code, first_line(&arrow.to_string()))
        }
        _ => whole(fault_of(error).code),
    }
}

fn first_line(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix("External error: ").unwrap_or(text);
    text.split("\n\nbacktrace:")
        .next()
        .unwrap_or(text)
        .replace('\n', " ")
}

/// The parser says `... at Line: 1, Column: 8`.
fn parse_error(text: &str) -> Fault {
    let text = text
        .trim_start_matches("sql parser error: ")
        .trim_start_matches("ParserError: ");
    let (message, place) = match text.rsplit_once(" at Line: ") {
        Some((message, place)) => (message, Some(place)),
        None => (text, None),
    };
    let mut fault = Fault::new(ErrorCode::SqlParseError, lower_first(message));
    fault.position = place.and_then(|place| {
        let (line, column) = place.split_once(", Column: ")?;
        Some(Position {
            line: line.trim().parse().ok()?,
            column: column
                .trim()
                .trim_end_matches(|c: char| !c.is_ascii_digit())
                .parse()
                .ok()?,
            length: found_length(message),
        })
    });
    fault
}

/// The parser names the token it stumbled over: `found: FORM`.
fn found_length(message: &str) -> u32 {
    let found = message
        .rsplit_once("found: ")
        .map_or("", |(_, token)| token);
    match found {
        "" | "EOF" => 1,
        token => u32::try_from(token.chars().count()).unwrap_or(1),
    }
}

fn schema_error(error: &SchemaError) -> Fault {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let mut names: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            names.dedup();
            let mut fault = Fault::new(
                ErrorCode::SqlPlanError,
                format!("no column {:?}", field.name),
            );
            fault.hint = match nearest(&field.name, names.iter().copied()) {
                Some(name) => Some(format!("did you mean {name:?}?")),
                None if names.is_empty() => None,
                None => Some(format!("there are {}", listed(&names))),
            };
            fault.position = field.spans().first().and_then(place);
            fault
        }
        SchemaError::AmbiguousReference { field } => {
            let mut fault = Fault::new(
                ErrorCode::SqlPlanError,
                format!("column {:?} is in more than one table", field.name),
            )
            .with_hint("write the table before the name");
            fault.position = field.spans().first().and_then(place);
            fault
        }
        other => Fault::new(ErrorCode::SqlPlanError, lower_first(&other.to_string())),
    }
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(CANDIDATES_SHOWN);
    let mut text = shown
        .map(|n| format!("{n:?}"))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > CANDIDATES_SHOWN {
        text.push_str(&format!(" and {} more", names.len() - CANDIDATES_SHOWN));
    }
    text
}

/// Messages of the planner that hold a suggestion of their own.
fn plan_error(text: &str) -> Fault {
    let (message, suggestion) = match text.split_once("Did you mean") {
        Some((message, rest)) => (message, Some(format!("did you mean{}", rest.trim_end()))),
        None => (text, None),
    };
    let message = first_line(message.trim().trim_end_matches('.'));
    let mut fault = Fault::new(ErrorCode::SqlPlanError, lower_first(&message));
    fault.hint = suggestion;
    fault
}

fn resources(text: &str) -> Fault {
    let code = match text.contains("disk") {
        true => ErrorCode::DiskFull,
        false => ErrorCode::OutOfMemory,
    };
    Fault::new(code, first_line(text))
}

fn diagnostic(error: &DataFusionError) -> Option<&Diagnostic> {
    error.diagnostic()
}

fn place(span: Span) -> Option<Position> {
    let number = |n: u64| u32::try_from(n).ok().filter(|n| *n > 0);
    let length = match span.end.line == span.start.line {
        true => span.end.column.saturating_sub(span.start.column),
        false => 1,
    };
    Some(Position {
        line: number(span.start.line)?,
        column: number(span.start.column)?,
        length: u32::try_from(length).unwrap_or(1).max(1),
    })
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next();
    let second_is_upper = characters.clone().next().is_some_and(char::is_uppercase);
    match first {
        // Acronyms and keywords stay as they are.
        Some(first) if !second_is_upper => first.to_lowercase().chain(characters).collect(),
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_frames::FramesError;

    #[test]
    fn a_parse_error_keeps_its_place() {
        let fault = parse_error(
            "sql parser error: Expected: end of statement, found: FORM at Line: 2, Column: 10",
        );
        assert_eq!(fault.message, "expected: end of statement, found: FORM");
        let position = fault.position.unwrap();
        assert_eq!(
            (position.line, position.column, position.length),
            (2, 10, 4)
        );
    }

    #[test]
    fn a_fault_inside_an_error_comes_out_whole() {
        let fault = Fault::new(ErrorCode::EngineLost, "engine 1 ended").on_engine(1);
        let error = DataFusionError::External(Box::new(fault.clone())).context("shuffle");
        assert_eq!(fault_from(&error), fault);
    }

    #[test]
    fn a_broken_connection_is_no_fault_of_the_query() {
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let mut cut_off = Status::internal("h2 protocol error");
        cut_off.set_source(std::sync::Arc::new(reset()));
        let errors: [Box<dyn Error + Send + Sync>; 4] = [
            Box::new(cut_off),
            Box::new(Status::unavailable("tcp connect error")),
            Box::new(Status::cancelled("operation was canceled")),
            Box::new(reset()),
        ];
        for error in errors {
            let error = DataFusionError::External(error).context("read rows");
            let fault = fault_from(&error);
            assert_eq!(fault.code, ErrorCode::Unavailable, "{error}");
        }
    }

    #[test]
    fn what_another_engine_answered_is_no_broken_connection() {
        let lost = Fault::new(ErrorCode::EngineLost, "engine 1 ended");
        let error = DataFusionError::External(Box::new(Status::from(lost.clone())));
        assert_eq!(fault_from(&error), lost);
        let error = DataFusionError::External(Box::new(Status::internal("encode rows")));
        assert_eq!(fault_from(&error).code, ErrorCode::Internal);
    }

    #[test]
    fn a_full_disk_is_one_however_it_is_said() {
        let limit = || FramesError::DiskLimit {
            requested: "2.0 MiB".to_string(),
            used: "9.0 MiB".to_string(),
            limit: "10.0 MiB".to_string(),
        };
        let errors = [
            DataFusionError::from(limit()),
            DataFusionError::IoError(limit().into()),
            DataFusionError::IoError(io::Error::from(io::ErrorKind::StorageFull)),
        ];
        for error in errors {
            assert_eq!(fault_from(&error).code, ErrorCode::DiskFull, "{error}");
        }
    }

    #[test]
    fn other_errors_stay_the_library_s_own() {
        let error = DataFusionError::Execution("divide by zero".to_string());
        let fault = fault_from(&error);
        assert_eq!(fault.code, ErrorCode::ExecutionError);
        assert!(fault.message.ends_with("divide by zero"), "{fault}");
        let missing = DataFusionError::IoError(io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(fault_from(&missing).code, ErrorCode::ExecutionError);
        let refused = DataFusionError::ResourcesExhausted("reserve 2.0 GiB".to_string());
        assert_eq!(fault_from(&refused).code, ErrorCode::OutOfMemory);
    }

    #[test]
    fn the_nearest_name_is_found_whatever_its_case() {
        assert_eq!(
            nearest("vesseltyp", ["SOG", "VesselType"]),
            Some("VesselType")
        );
        assert_eq!(nearest("zzz", ["SOG", "VesselType"]), None);
    }
}
