//! The notebook's parameters: `$name` in SQL, a `let` in Rust.

use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Parameters in the order they were first set.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    values: Vec<(String, Value)>,
    /// Those Rust has not been told in their present value.
    untold: Vec<String>,
}

impl Parameters {
    pub(crate) fn all(&self) -> Vec<(String, Value)> {
        self.lock().values.clone()
    }

    pub(crate) fn set(&self, name: &str, value: Value) {
        let mut state = self.lock();
        match state.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => state.values.push((name.to_owned(), value)),
        }
        if !state.untold.iter().any(|known| known == name) {
            state.untold.push(name.to_owned());
        }
    }

    /// Takes the Rust code that makes Rust know what it was not told yet; empty when it knows all.
    pub(crate) fn take_untold(&self) -> String {
        let mut state = self.lock();
        let untold = std::mem::take(&mut state.untold);
        let values = state
            .values
            .iter()
            .filter(|(name, _)| untold.contains(name));
        values.map(|(name, value)| binding(name, value)).collect()
    }

    /// Rust was started anew and knows nothing.
    pub(crate) fn forgotten_by_rust(&self) {
        let mut state = self.lock();
        state.untold = state.values.iter().map(|(name, _)| name.clone()).collect();
    }

    /// Forgets all parameters.
    pub(crate) fn clear(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A `let` of one parameter. Every type is `Copy`, so that no cell can move the value away. A keyword of
/// Rust is no name of a variable: only SQL has that parameter.
fn binding(name: &str, value: &Value) -> String {
    if syn::parse_str::<syn::Ident>(name).is_err() {
        return String::new();
    }
    let (kind, literal) = match value {
        Value::Bool(truth) => ("bool", truth.to_string()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => ("i64", whole.to_string()),
            (None, Some(real)) => ("f64", format!("{real:?}")),
            (None, None) => ("&'static str", format!("{:?}", number.to_string())),
        },
        Value::String(text) => ("&'static str", format!("{text:?}")),
        // Of what type nothing is, only SQL can say.
        _ => ("Option<()>", "None".to_owned()),
    };
    format!("let {name}: {kind} = {literal};\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rust_is_told_every_value_once() {
        let parameters = Parameters::default();
        parameters.set("year", json!(2024));
        parameters.set("share", json!(2.0));
        parameters.set("port", json!("Esbj\"erg"));
        parameters.set("year", json!(2025));
        parameters.set("type", json!("of SQL alone"));
        let code = "let year: i64 = 2025;\nlet share: f64 = 2.0;\nlet port: &'static str = \"Esbj\\\"erg\";\n";
        assert_eq!(parameters.take_untold(), code);
        assert_eq!(parameters.take_untold(), "");
        parameters.forgotten_by_rust();
        assert_eq!(parameters.take_untold(), code);
    }
}
