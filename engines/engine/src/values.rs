//! Values bound to `$name`: from JSON to what the planner takes, and into the text of a definition,
//! which must outlive them.

use bireme_protocol::proto::BoundValue;
use bireme_protocol::{ErrorCode, Fault};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, VisitMut, VisitorMut};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::ops::ControlFlow;

/// Reads bound values.
///
/// # Errors
/// A value that is neither null, bool, number nor string.
pub(crate) fn read(values: &[BoundValue]) -> Result<HashMap<String, ScalarValue>, Fault> {
    let scalar = |value: &BoundValue| {
        let json: Json = serde_json::from_str(&value.json).unwrap_or(Json::Null);
        let scalar = match json {
            Json::Null => ScalarValue::Null,
            Json::Bool(truth) => ScalarValue::Boolean(Some(truth)),
            Json::String(text) => ScalarValue::Utf8(Some(text)),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => ScalarValue::Int64(Some(whole)),
                (None, float) => ScalarValue::Float64(float),
            },
            Json::Array(_) | Json::Object(_) => {
                return Err(Fault::new(
                    ErrorCode::InvalidArgument,
                    format!("bind ${}: {} is not a single value", value.name, value.json),
                ));
            }
        };
        Ok((value.name.clone(), scalar))
    };
    values.iter().map(scalar).collect()
}

/// The values as the planner takes them.
pub(crate) fn parameters(values: HashMap<String, ScalarValue>) -> ParamValues {
    let with_metadata = values.into_iter().map(|(name, value)| (name, value.into()));
    ParamValues::Map(with_metadata.collect())
}

/// Writes the values into a statement in place of their names.
pub(crate) fn inline(statement: &mut Statement, values: &HashMap<String, ScalarValue>) {
    let _: ControlFlow<()> = statement.visit(&mut Inline { values });
}

struct Inline<'a> {
    values: &'a HashMap<String, ScalarValue>,
}

impl VisitorMut for Inline<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Placeholder(name) = &value.value
            && let Some(bound) = name.strip_prefix('$').and_then(|n| self.values.get(n))
        {
            value.value = literal(bound);
        }
        ControlFlow::Continue(())
    }
}

fn literal(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Boolean(Some(truth)) => Value::Boolean(*truth),
        ScalarValue::Utf8(Some(text)) => Value::SingleQuotedString(text.replace('\'', "''")),
        ScalarValue::Int64(Some(number)) => Value::Number(number.to_string(), false),
        // The exponent keeps a whole float a float.
        ScalarValue::Float64(Some(number)) => Value::Number(format!("{number:e}"), false),
        _ => Value::Null,
    }
}
