//! Names and values as SQL text that means them and nothing else.

use crate::frame::expr::Expr;

/// A name, matched exactly.
pub(crate) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text. The kernel puts values where two braces stand in a text, so none may.
pub(crate) fn text(text: &str) -> String {
    let quoted = |part: &str| format!("'{}'", part.replace('\'', "''"));
    if !text.contains("{{") {
        return quoted(text);
    }
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for letter in text.chars() {
        if letter == '{' && before == '{' {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
        before = letter;
    }
    let parts: Vec<String> = parts.iter().map(|part| quoted(part)).collect();
    format!("({})", parts.join(" || "))
}

/// Names between commas.
pub(crate) fn names<'n>(all: impl IntoIterator<Item = &'n String>) -> String {
    let names: Vec<String> = all.into_iter().map(|one| name(one)).collect();
    names.join(", ")
}

/// A Rust value that stands in a query as a literal of its type.
pub trait Literal {
    /// The SQL type of a null of it.
    const SQL_TYPE: &'static str;

    /// The value as SQL.
    fn to_sql(&self) -> String;
}

macro_rules! integers {
    ($($kind:ty => $sql:literal),* $(,)?) => {$(
        impl Literal for $kind {
            const SQL_TYPE: &'static str = $sql;

            fn to_sql(&self) -> String {
                // SQL reads a sign as an operator, which the least number does not survive.
                match i64::try_from(*self) {
                    Ok(number @ 0..) => number.to_string(),
                    Ok(number) if number > i64::MIN => format!("({number})"),
                    _ => format!("CAST('{self}' AS {})", Self::SQL_TYPE),
                }
            }
        }
    )*};
}

integers! {
    i8 => "TINYINT",
    i16 => "SMALLINT",
    i32 => "INT",
    i64 => "BIGINT",
    u8 => "TINYINT UNSIGNED",
    u16 => "SMALLINT UNSIGNED",
    u32 => "INT UNSIGNED",
    u64 => "BIGINT UNSIGNED",
    isize => "BIGINT",
    usize => "BIGINT UNSIGNED",
}

impl Literal for f64 {
    const SQL_TYPE: &'static str = "DOUBLE";

    fn to_sql(&self) -> String {
        format!("CAST('{self:?}' AS DOUBLE)")
    }
}

impl Literal for f32 {
    const SQL_TYPE: &'static str = "REAL";

    fn to_sql(&self) -> String {
        format!("CAST('{self:?}' AS REAL)")
    }
}

impl Literal for bool {
    const SQL_TYPE: &'static str = "BOOLEAN";

    fn to_sql(&self) -> String {
        if *self { "TRUE" } else { "FALSE" }.to_string()
    }
}

impl Literal for &str {
    const SQL_TYPE: &'static str = "VARCHAR";

    fn to_sql(&self) -> String {
        text(self)
    }
}

impl Literal for String {
    const SQL_TYPE: &'static str = "VARCHAR";

    fn to_sql(&self) -> String {
        text(self)
    }
}

impl Literal for &String {
    const SQL_TYPE: &'static str = "VARCHAR";

    fn to_sql(&self) -> String {
        text(self)
    }
}

impl<T: Literal> Literal for Option<T> {
    const SQL_TYPE: &'static str = T::SQL_TYPE;

    fn to_sql(&self) -> String {
        match self {
            Some(value) => value.to_sql(),
            None => format!("CAST(NULL AS {})", T::SQL_TYPE),
        }
    }
}

impl<T: Literal> From<T> for Expr {
    fn from(value: T) -> Expr {
        Expr::literal(value.to_sql())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_cannot_be_left() {
        assert_eq!(name(r#"a "b" ü; --"#), r#""a ""b"" ü; --""#);
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text("{{!x}} {{{"), "('{' || '{!x}} {' || '{' || '{')");
    }

    #[test]
    fn numbers_keep_their_value_and_sign() {
        assert_eq!(5.to_sql(), "5");
        assert_eq!((-5_i8).to_sql(), "(-5)");
        assert_eq!(i64::MIN.to_sql(), "CAST('-9223372036854775808' AS BIGINT)");
        assert_eq!(
            u64::MAX.to_sql(),
            "CAST('18446744073709551615' AS BIGINT UNSIGNED)"
        );
        assert_eq!(1.5.to_sql(), "CAST('1.5' AS DOUBLE)");
        assert_eq!(f64::NAN.to_sql(), "CAST('NaN' AS DOUBLE)");
        assert_eq!(f64::NEG_INFINITY.to_sql(), "CAST('-inf' AS DOUBLE)");
        assert_eq!(None::<u16>.to_sql(), "CAST(NULL AS SMALLINT UNSIGNED)");
        assert_eq!(Some("x").to_sql(), "'x'");
        assert_eq!(true.to_sql(), "TRUE");
    }
}
