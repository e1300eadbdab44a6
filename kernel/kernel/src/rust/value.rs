//! Takes the value of a Rust expression to SQL: as a JSON scalar that the cell writes itself, so that
//! nothing is read from what a value looks like.

use bireme_jupyter::wire::CellError;
use bireme_protocol::{ErrorCode, Fault};
use serde_json::Value;

/// What stands around the expression: which types can be bound, and how they are written.
const SUPPORT: &str = r#"
#[diagnostic::on_unimplemented(
    message = "a value of type `{Self}` cannot be bound in SQL"
)]
trait Bindable { fn json(&self) -> String; }
macro_rules! bindable { ($($kind:ty),*) => { $(impl Bindable for $kind {
    fn json(&self) -> String { format!("{self:?}") }
})* } }
bindable!(bool, i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, f32, f64);
impl Bindable for str {
    fn json(&self) -> String {
        let mut json = String::from("\"");
        for letter in self.chars() {
            match letter {
                '"' | '\\' => json.extend(['\\', letter]),
                letter if letter < ' ' => json.push_str(&format!("\\u{:04x}", letter as u32)),
                letter => json.push(letter),
            }
        }
        json + "\""
    }
}
impl Bindable for char { fn json(&self) -> String { self.to_string().as_str().json() } }
impl Bindable for String { fn json(&self) -> String { self.as_str().json() } }
impl<T: Bindable + ?Sized> Bindable for &T { fn json(&self) -> String { (**self).json() } }
impl<T: Bindable> Bindable for Option<T> {
    fn json(&self) -> String { self.as_ref().map_or("null".to_string(), Bindable::json) }
}
struct Written(String);
impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) }
}
"#;

/// A cell whose value is that of the expression, written as JSON. Errors in the expression are on
/// its second line and on.
pub(super) fn cell(expression: &str) -> String {
    format!(
        "match &(\n{expression}\n) {{ value => {{ {SUPPORT} Written(Bindable::json(value)) }} }}"
    )
}

/// Why such a cell failed. Its own lines around the expression are nobody's business.
pub(super) fn failure(expression: &str, error: &CellError) -> Fault {
    const UNBOUND: &str = "cannot be bound in SQL";
    let code = match error.ename == CellError::INTERRUPTED {
        true => ErrorCode::Cancelled,
        false => ErrorCode::InvalidArgument,
    };
    let reason = reason(error);
    let fault = Fault::new(code, format!("evaluate {{{{{expression}}}}}: {reason}"));
    if reason.contains(UNBOUND) {
        return fault.with_hint("numbers, bool, text and `Option` of these can be");
    }
    let lines = error.traceback.iter().flat_map(|part| part.lines());
    let mut helps = lines.filter_map(|line| line.trim_start().strip_prefix("help: "));
    match helps.next() {
        Some(help) => fault.with_hint(help),
        None => fault,
    }
}

/// Why rows were not bound to a variable.
pub(super) fn unbound(variable: &str, error: &CellError) -> Fault {
    let code = match error.ename == CellError::INTERRUPTED {
        true => ErrorCode::Cancelled,
        false => ErrorCode::ExecutionError,
    };
    let reason = reason(error);
    let message = format!("bind the rows to the Rust variable {variable}: {reason}");
    Fault::new(code, message)
}

/// Without the compiler's number: `error[E0425]: cannot find value ...`
fn reason(error: &CellError) -> &str {
    match error.evalue.split_once("]: ") {
        Some((head, reason)) if head.starts_with("error[") => reason,
        _ => &error.evalue,
    }
}

/// So much of a value is told when it is none.
const BEGINNING: usize = 100;

/// Reads what such a cell has shown.
pub(super) fn read(expression: &str, shown: Option<&str>) -> Result<Value, Fault> {
    let refused = |reason: String| {
        let message = format!("bind {{{{{expression}}}}}: {reason}");
        Fault::new(ErrorCode::InvalidArgument, message)
    };
    let shown = shown.ok_or_else(|| refused("it has no value".to_string()))?;
    let value: Option<Value> = serde_json::from_str(shown).ok();
    // What is larger is read as a double, and rounded.
    let is_whole = shown.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    match value {
        Some(Value::Number(number)) if is_whole && number.as_i64().is_none() => {
            Err(refused(format!("{shown} does not fit into a BIGINT")))
        }
        Some(value) => Ok(value),
        // Of a longer text only the beginning has come.
        None if shown.starts_with('"') => Err(refused(format!(
            "its text has more than {} KiB",
            shown.len() >> 10
        ))),
        None => {
            let beginning: String = shown.chars().take(BEGINNING).collect();
            Err(refused(format!("{beginning} is no value of SQL")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_failure_is_the_expressions_own() {
        let traceback = [
            "error[E0425]: cannot find value `lst` in this scope\n --> {{lst}}:2:1\n  |\nhelp: a local variable with a similar name exists: `list`",
        ];
        let error = CellError::new(
            "CompileError",
            "error[E0425]: cannot find value `lst` in this scope",
        )
        .with_traceback(traceback.map(str::to_owned).to_vec());
        let fault = failure("lst", &error);
        assert_eq!(
            fault.message,
            "evaluate {{lst}}: cannot find value `lst` in this scope"
        );
        assert_eq!(
            fault.hint.unwrap(),
            "a local variable with a similar name exists: `list`"
        );
    }

    #[test]
    fn only_values_of_sql_are_bound() {
        assert_eq!(read("x", Some("-5")), Ok(json!(-5)));
        assert_eq!(read("x", Some("\"it's\"")), Ok(json!("it's")));
        assert_eq!(read("x", Some("null")), Ok(json!(null)));
        let refused = |shown| read("x", shown).unwrap_err().message;
        assert_eq!(refused(Some("NaN")), "bind {{x}}: NaN is no value of SQL");
        let large = "bind {{x}}: 18446744073709551615 does not fit into a BIGINT";
        assert_eq!(refused(Some("18446744073709551615")), large);
        let larger = "bind {{x}}: 18446744073709551617 does not fit into a BIGINT";
        assert_eq!(refused(Some("18446744073709551617")), larger);
        assert_eq!(read("x", Some("1e300")), Ok(json!(1e300)));
        let cut = format!("\"{}", "a".repeat((64 << 10) - 1));
        assert_eq!(
            refused(Some(&cut)),
            "bind {{x}}: its text has more than 64 KiB"
        );
        assert_eq!(refused(None), "bind {{x}}: it has no value");
    }
}
