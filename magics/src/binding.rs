//! Values in SQL: `$name` and `{{expression}}`, a parameter or any Rust, become bound values, `{{!expression}}` a fragment of
//! text. Values never become SQL text, so no value can change what a statement means.
//!
//! Strings, quoted names and comments are left alone, but for fragments inside strings, whose
//! quotes are doubled. A map leads from places in the bound SQL back to the text as typed.

use bireme_protocol::{ErrorCode, Fault, Position, proto::BoundValue};
use serde_json::Value;

use crate::line::param::read_value;
use crate::magic::is_name;
use crate::nearest::nearest;
use crate::sql_scanner::{Part, scan};
use crate::text;

/// SQL with its values taken out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct BoundSql {
    pub sql: String,
    pub values: Vec<BoundValue>,
    map: Vec<Span>,
}

/// A run of bytes and where it came from. What was inserted comes from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    bound: usize,
    typed: usize,
    is_copied: bool,
}

impl BoundSql {
    /// The values that a part of the SQL uses.
    pub(crate) fn values_in(&self, sql: &str) -> Vec<BoundValue> {
        let names: Vec<&str> = scan(sql)
            .filter_map(|part| match part {
                Part::Placeholder { name, .. } => Some(name),
                _ => None,
            })
            .collect();
        let is_used = |value: &&BoundValue| names.contains(&value.name.as_str());
        self.values.iter().filter(is_used).cloned().collect()
    }

    /// Moves a place in `piece`, which begins at a byte of the bound SQL, to the text as typed.
    pub(crate) fn locate(
        &self,
        typed: &str,
        piece: &str,
        piece_offset: usize,
        position: Position,
    ) -> Position {
        let bound = piece_offset + text::offset(piece, position);
        let index = self
            .map
            .partition_point(|span| span.bound <= bound)
            .saturating_sub(1);
        let Some(span) = self.map.get(index) else {
            return position;
        };
        let offset = span.typed
            + if span.is_copied {
                bound - span.bound
            } else {
                0
            };
        text::position(typed, offset, position.length as usize)
    }
}

/// What is known of names and expressions.
pub(crate) struct Known<'a> {
    /// The notebook's parameters.
    pub parameters: &'a [(String, Value)],
    /// Rust expressions that were evaluated.
    pub expressions: &'a [(String, Value)],
    /// Whether Rust has a variable or item of this name.
    pub is_rust: &'a (dyn Fn(&str) -> bool + Sync),
}

/// A Rust expression whose value is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub expression: String,
    /// Where it stands in the text.
    pub position: Position,
}

/// Binds the values of a text. Expressions that were not evaluated yet are given back, and bound to
/// nothing meanwhile. Positions in a fault are positions in that text.
pub(crate) fn bind(typed: &str, known: &Known<'_>) -> Result<(BoundSql, Vec<Wanted>), Fault> {
    let mut binder = Binder {
        typed,
        known,
        bound: BoundSql::default(),
        wanted: Vec::new(),
    };
    for part in scan(typed) {
        match part {
            Part::Plain { offset, text } => binder.copy(offset, text),
            Part::Placeholder { offset, name } => binder.placeholder(offset, name)?,
            Part::Quoted { offset, text } => binder.quoted(offset, text)?,
            Part::Braces {
                offset,
                text,
                inner,
            } => {
                let inner_offset = offset + 2;
                match inner.trim_start().strip_prefix('!') {
                    Some(expression) => {
                        let fragment = binder.fragment(expression, inner_offset, inner)?;
                        binder.insert(offset, &fragment);
                    }
                    None => binder.value(offset, text, inner)?,
                }
            }
        }
    }
    Ok((binder.bound, binder.wanted))
}

struct Binder<'a> {
    typed: &'a str,
    known: &'a Known<'a>,
    bound: BoundSql,
    wanted: Vec<Wanted>,
}

impl Binder<'_> {
    fn copy(&mut self, offset: usize, text: &str) {
        let bound = self.bound.sql.len();
        self.bound.map.push(Span {
            bound,
            typed: offset,
            is_copied: true,
        });
        self.bound.sql.push_str(text);
    }

    fn insert(&mut self, offset: usize, text: &str) {
        let bound = self.bound.sql.len();
        self.bound.map.push(Span {
            bound,
            typed: offset,
            is_copied: false,
        });
        self.bound.sql.push_str(text);
    }

    fn placeholder(&mut self, offset: usize, name: &str) -> Result<(), Fault> {
        let length = name.chars().count() + 1;
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = format!("${name} has no value: values are bound by name");
            let hint = "write $name, and set it with %param name = value";
            return Err(self.fault(message, offset, length).with_hint(hint));
        }
        let value = self.parameter(name, offset, length)?;
        self.add(name.to_string(), &value)?;
        self.copy(offset, &self.typed[offset..=offset + name.len()]);
        Ok(())
    }

    fn value(&mut self, offset: usize, text: &str, inner: &str) -> Result<(), Fault> {
        let expression = inner.trim();
        let length = text.chars().count();
        let value = self.evaluate(expression, offset, length)?;
        let name = match self.is_parameter(expression) {
            true => expression.to_string(),
            false => self.free_name(),
        };
        // A word right after the braces must not become part of the name.
        let after = self.typed[offset + text.len()..].chars().next();
        let space = if after.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            " "
        } else {
            ""
        };
        self.insert(offset, &format!("${name}{space}"));
        self.add(name, &value)
    }

    /// A name for a literal. No parameter has it: `$name` elsewhere in the text is the parameter.
    fn free_name(&self) -> String {
        let mut number = self.bound.values.len() + 1;
        loop {
            let name = format!("value_{number}");
            let is_parameter = self
                .known
                .parameters
                .iter()
                .any(|(known, _)| *known == name);
            let is_bound = self.bound.values.iter().any(|bound| bound.name == name);
            if !is_parameter && !is_bound {
                return name;
            }
            number += 1;
        }
    }

    /// A string keeps its braces, but for fragments.
    fn quoted(&mut self, offset: usize, text: &str) -> Result<(), Fault> {
        let mut copied = 0;
        while let Some(start) = text[copied..].find("{{").map(|at| at + copied) {
            let Some(end) = text[start..].find("}}").map(|at| at + start) else {
                break;
            };
            let inner = &text[start + 2..end];
            self.copy(offset + copied, &text[copied..start]);
            let place = offset + start;
            copied = end + 2;
            if let Some(expression) = inner.trim_start().strip_prefix('!') {
                let fragment = self.fragment(expression, place + 2, inner)?;
                self.insert(place, &fragment.replace('\'', "''"));
            } else if self
                .known
                .parameters
                .iter()
                .any(|(name, _)| name == inner.trim())
            {
                let name = inner.trim();
                let message = format!("{{{{{name}}}}} stands in quotes, where no value is bound");
                let hint = format!(
                    "write {{{{{name}}}}} without quotes, or {{{{!{name}}}}} to put its text here"
                );
                return Err(self
                    .fault(message, place, inner.chars().count() + 4)
                    .with_hint(hint));
            } else {
                self.copy(place, &text[start..copied]);
            }
        }
        self.copy(offset + copied, &text[copied..]);
        Ok(())
    }

    fn fragment(&mut self, expression: &str, offset: usize, inner: &str) -> Result<String, Fault> {
        let value = self.evaluate(expression.trim(), offset, inner.chars().count())?;
        Ok(match value {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    fn evaluate(&mut self, expression: &str, offset: usize, length: usize) -> Result<Value, Fault> {
        if expression.is_empty() {
            let fault = self.fault("the braces are empty".to_string(), offset, length);
            return Err(fault.with_hint("between braces stands a parameter or a Rust expression"));
        }
        if names_value(expression) && !(self.known.is_rust)(expression)
            || self.is_parameter(expression)
        {
            return self.parameter(expression, offset, length);
        }
        let starts_literal = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '\'' | '"');
        if (is_keyword(expression) || expression.starts_with(starts_literal))
            && let Ok(read) = read_value(expression)
            && (!read.is_string() || is_text(expression))
        {
            return Ok(read);
        }
        Ok(self.rust(expression, offset, length))
    }

    /// The value of a Rust expression; nothing as long as it is only wanted.
    fn rust(&mut self, expression: &str, offset: usize, length: usize) -> Value {
        let mut evaluated = self.known.expressions.iter();
        if let Some((_, value)) = evaluated.find(|(known, _)| known == expression) {
            return value.clone();
        }
        self.wanted.push(Wanted {
            expression: expression.to_string(),
            position: text::position(self.typed, offset, length),
        });
        Value::Null
    }

    fn is_parameter(&self, expression: &str) -> bool {
        let mut parameters = self.known.parameters.iter();
        !is_keyword(expression) && parameters.any(|(name, _)| name == expression)
    }

    fn parameter(&self, name: &str, offset: usize, length: usize) -> Result<Value, Fault> {
        if let Some((_, value)) = self
            .known
            .parameters
            .iter()
            .find(|(known, _)| known == name)
        {
            return Ok(value.clone());
        }
        let fault = self.fault(format!("there is no parameter {name:?}"), offset, length);
        let known = self
            .known
            .parameters
            .iter()
            .map(|(known, _)| known.as_str());
        Err(match nearest(name, known) {
            Some(known) => fault.with_hint(format!("did you mean ${known}?")),
            None => fault.with_hint(format!("set it with %param {name} = value")),
        })
    }

    fn add(&mut self, name: String, value: &Value) -> Result<(), Fault> {
        let json = value.to_string();
        match self.bound.values.iter().find(|bound| bound.name == name) {
            Some(bound) if bound.json == json => Ok(()),
            Some(bound) => Err(Fault::internal(format!(
                "bind ${name} to {json}: it is bound to {} already",
                bound.json
            ))),
            None => {
                self.bound.values.push(BoundValue { name, json });
                Ok(())
            }
        }
    }

    fn fault(&self, message: String, offset: usize, length: usize) -> Fault {
        let position = text::position(self.typed, offset, length);
        Fault::new(ErrorCode::InvalidArgument, message).at(position)
    }
}

/// Whether an expression is one text in quotes: SQL's, where a quote is doubled, or JSON's.
fn is_text(expression: &str) -> bool {
    let inner = |text: &str| {
        Some(
            text.strip_prefix('\'')?
                .strip_suffix('\'')?
                .replace("''", ""),
        )
    };
    match inner(expression) {
        Some(inner) => !inner.contains('\''),
        None => serde_json::from_str::<String>(expression).is_ok(),
    }
}

/// Whether an expression between braces is a name, of a parameter or in Rust.
fn names_value(expression: &str) -> bool {
    is_name(expression) && !expression.starts_with('"') && !is_keyword(expression)
}

fn is_keyword(expression: &str) -> bool {
    matches!(expression, "true" | "false" | "null")
}
