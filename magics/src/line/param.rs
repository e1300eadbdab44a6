//! `%param`: parameters of the notebook, seen as `$name` in SQL and as a `let` in Rust.

use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};
use serde_json::Value;

use crate::display::listing;
use crate::host::Host;
use crate::magic::{Body, BodyKind, Call, Example, Forms, Magic, Spec, is_name};
use crate::mime_bundle::MimeBundle;
use crate::nearest::nearest;
use crate::text::{Piece, key_and_value};

/// `%param`.
#[derive(Debug)]
pub struct Param;

static SPEC: Spec = Spec {
    name: "param",
    forms: Forms::Line,
    summary: "Sets a parameter of the notebook, or lists them.",
    doc: "SQL sees a parameter as the bound value `$name`, Rust as a variable. `bireme run -p` sets it \
          after the cell tagged `parameters`. A value is a number, `true`, `false`, `null`, or text with \
          or without quotes.",
    positionals: &[],
    flags: &[],
    body: BodyKind::Parameter,
    examples: &[
        Example {
            cell: "%param year = 2024",
            doc: "a number",
        },
        Example {
            cell: "%param port = 'Rotterdam'",
            doc: "text",
        },
        Example {
            cell: "%param",
            doc: "all parameters",
        },
    ],
};

#[async_trait]
impl Magic for Param {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        match key_and_value(&call.body) {
            (None, _) => host.display(listing::parameters(&host.parameters())),
            (Some(name), None) => show(host, &name, &call.body)?,
            (Some(name), Some(value)) => {
                if !is_name(name.text) || name.text.starts_with('"') {
                    let message =
                        format!("{:?} is not a name: letters, digits and _ only", name.text);
                    return Err(usage(message, &name, &call.body));
                }
                let read =
                    read_value(value.text).map_err(|reason| usage(reason, &value, &call.body))?;
                host.set_parameter(name.text, read).await?;
            }
        }
        Ok(())
    }
}

fn show(host: &dyn Host, name: &Piece<'_>, body: &Body) -> Result<(), Fault> {
    let parameters = host.parameters();
    if let Some((name, value)) = parameters.iter().find(|(known, _)| known == name.text) {
        host.display(MimeBundle::plain(format!("{name} = {value}")));
        return Ok(());
    }
    let fault = usage(format!("there is no parameter {:?}", name.text), name, body);
    Err(
        match nearest(
            name.text,
            parameters.iter().map(|(known, _)| known.as_str()),
        ) {
            Some(known) => fault.with_hint(format!("did you mean {known}?")),
            None => fault.with_hint("%param name = value sets one"),
        },
    )
}

/// Reads a value as people, papermill and `bireme run -p` write it.
pub fn read_value(text: &str) -> Result<Value, String> {
    let text = text.trim().trim_end_matches(';').trim_end();
    let quoted = ['\'', '"'].into_iter().find_map(|quote| {
        text.strip_prefix(quote)?
            .strip_suffix(quote)
            .map(|inner| (quote, inner))
    });
    if let Some((quote, inner)) = quoted {
        return match quote {
            '"' => serde_json::from_str(text).or_else(|_| Ok(Value::String(inner.into()))),
            _ => Ok(Value::String(inner.replace("''", "'"))),
        };
    }
    match text {
        "true" | "True" => return Ok(Value::Bool(true)),
        "false" | "False" => return Ok(Value::Bool(false)),
        "null" | "None" => return Ok(Value::Null),
        _ => {}
    }
    if let Some(number) = number(text) {
        return Ok(number);
    }
    if text.starts_with(['[', '{']) {
        return Err(
            "a parameter is a number, true, false, null or text, not a list or an object".into(),
        );
    }
    Ok(Value::String(text.into()))
}

fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let is_number = plain
        .trim_start_matches(['-', '+'])
        .starts_with(|c: char| c.is_ascii_digit());
    if !is_number {
        return None;
    }
    let plain = plain.trim_start_matches('+');
    match plain.parse::<i64>() {
        Ok(whole) => Some(whole.into()),
        Err(_) => serde_json::Number::from_f64(plain.parse().ok()?).map(Value::Number),
    }
}

fn usage(message: String, piece: &Piece<'_>, body: &Body) -> Fault {
    Fault::new(ErrorCode::InvalidArgument, message).at(piece.position(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_read_as_people_write_them() {
        let cases = [
            ("2024", json!(2024)),
            ("-1_000", json!(-1000)),
            ("2.5", json!(2.5)),
            ("'it''s'", json!("it's")),
            ("\"a\\nb\"", json!("a\nb")),
            ("true", json!(true)),
            ("None", json!(null)),
            ("2024-01-01", json!("2024-01-01")),
            ("New York", json!("New York")),
        ];
        for (text, value) in cases {
            assert_eq!(read_value(text), Ok(value), "{text}");
        }
        assert!(read_value("[1, 2]").is_err());
    }
}
