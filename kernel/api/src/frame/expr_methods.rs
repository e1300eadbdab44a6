//! What can be made of an expression: comparisons, arithmetic, aggregates, windows, names, types.

use crate::frame::expr::{Expr, ToExprs};
use crate::frame::sql_text;
use arrow_schema::DataType;
use std::borrow::Cow;
use std::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Rem, Sub};

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $sql:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self, other: impl Into<Expr>) -> Expr {
            Expr::form(["(", $sql, ")"], vec![self, other.into()])
        }
    )*};
}

macro_rules! after {
    ($($(#[$doc:meta])* $name:ident => $sql:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self) -> Expr {
            Expr::form(["(", $sql], vec![self])
        }
    )*};
}

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident => $sql:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self) -> Expr {
            Expr::call($sql, vec![self])
        }
    )*};
}

macro_rules! aggregates {
    ($($(#[$doc:meta])* $name:ident => $sql:literal),* $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $name(self) -> Expr {
            self.aggregate($sql, false)
        }
    )*};
}

/// Comparisons and logic. A comparison with null is null.
impl Expr {
    binary! {
        /// Equal.
        eq => " = ",
        /// Not equal.
        neq => " <> ",
        /// Greater.
        gt => " > ",
        /// Greater or equal.
        gt_eq => " >= ",
        /// Less.
        lt => " < ",
        /// Less or equal.
        lt_eq => " <= ",
        /// Both hold.
        and => " AND ",
        /// One of both holds.
        or => " OR ",
        /// Equal, where null equals null.
        eq_missing => " IS NOT DISTINCT FROM ",
        /// Matches a pattern of SQL: `%` is any text, `_` any letter.
        like => " LIKE ",
    }

    after! {
        /// Is null.
        is_null => " IS NULL)",
        /// Is not null.
        is_not_null => " IS NOT NULL)",
    }

    /// Does not hold; also the operator `!`.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "it does; this is for chains")]
    pub fn not(self) -> Expr {
        Expr::form(["(NOT ", ")"], vec![self])
    }

    /// Is one of some values. Of none, nothing is.
    #[must_use]
    pub fn is_in(self, values: impl IntoIterator<Item = impl Into<Expr>>) -> Expr {
        let values: Vec<Expr> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            return Expr::form(["(", " IS NULL AND FALSE)"], vec![self]);
        }
        let mut texts = vec![Cow::Borrowed("("), Cow::Borrowed(" IN (")];
        texts.extend((1..values.len()).map(|_| Cow::Borrowed(", ")));
        texts.push(Cow::Borrowed("))"));
        let parts = std::iter::once(self).chain(values).collect();
        Expr::form_of(texts, parts, 0)
    }

    /// Lies between two values, or is one of them.
    #[must_use]
    pub fn between(self, least: impl Into<Expr>, most: impl Into<Expr>) -> Expr {
        let parts = vec![self, least.into(), most.into()];
        Expr::form(["(", " BETWEEN ", " AND ", ")"], parts)
    }

    /// Another value in the place of null.
    #[must_use]
    pub fn fill_null(self, value: impl Into<Expr>) -> Expr {
        Expr::call("coalesce", vec![self, value.into()])
    }
}

/// Functions of one row.
impl Expr {
    functions! {
        /// Without its sign.
        abs => "abs",
        /// The next whole number below.
        floor => "floor",
        /// The next whole number above.
        ceil => "ceil",
        /// The square root.
        sqrt => "sqrt",
        /// The natural logarithm.
        ln => "ln",
        /// e to this power.
        exp => "exp",
        /// In small letters.
        lower => "lower",
        /// In capital letters.
        upper => "upper",
        /// Without white space at both ends.
        trim => "trim",
        /// How many characters a text has.
        str_len => "character_length",
    }

    /// Rounded to some decimals.
    #[must_use]
    pub fn round(self, decimals: i32) -> Expr {
        Expr::call("round", vec![self, decimals.into()])
    }

    /// To a power.
    #[must_use]
    pub fn pow(self, exponent: impl Into<Expr>) -> Expr {
        Expr::call("power", vec![self, exponent.into()])
    }

    /// Whether a text has another in it.
    #[must_use]
    pub fn contains(self, text: impl Into<Expr>) -> Expr {
        Expr::call("contains", vec![self, text.into()])
    }

    /// Whether a text begins with another.
    #[must_use]
    pub fn starts_with(self, text: impl Into<Expr>) -> Expr {
        Expr::call("starts_with", vec![self, text.into()])
    }

    /// Whether a text ends with another.
    #[must_use]
    pub fn ends_with(self, text: impl Into<Expr>) -> Expr {
        Expr::call("ends_with", vec![self, text.into()])
    }

    /// A part of a date or time as a number: `year`, `month`, `day`, `hour`, `dow` and so on.
    #[must_use]
    pub fn date_part(self, part: &str) -> Expr {
        let part = Cow::Owned(format!("date_part({}, ", sql_text::text(part)));
        Expr::form_of(vec![part, Cow::Borrowed(")")], vec![self], 0)
    }

    /// A date or time cut to a unit: `year`, `month`, `week`, `day`, `hour` and so on.
    #[must_use]
    pub fn date_trunc(self, unit: &str) -> Expr {
        let unit = Cow::Owned(format!("date_trunc({}, ", sql_text::text(unit)));
        Expr::form_of(vec![unit, Cow::Borrowed(")")], vec![self], 0)
    }

    /// As another type. A value that does not fit fails the query.
    #[must_use]
    pub fn cast(self, data_type: DataType) -> Expr {
        let to = sql_text::text(&data_type.to_string());
        let texts = vec![Cow::Borrowed("arrow_cast("), format!(", {to})").into()];
        Expr::form_of(texts, vec![self], 0)
    }

    /// Under another name.
    #[must_use]
    pub fn alias(self, name: impl Into<String>) -> Expr {
        self.named(name.into())
    }
}

/// Aggregates: one value of the rows of a group, a window or the frame. Nulls do not count; of no
/// values the sum is null.
impl Expr {
    aggregates! {
        /// The sum.
        sum => "sum",
        /// The mean.
        mean => "avg",
        /// The least value.
        min => "min",
        /// The greatest value.
        max => "max",
        /// How many values are not null.
        count => "count",
        /// The standard deviation of a sample.
        std => "stddev_samp",
        /// The variance of a sample.
        var => "var_samp",
        /// The value in the middle.
        median => "median",
        /// A first value. Rows have an order only within [`Expr::over_ordered`].
        first => "first_value",
        /// A last value. Rows have an order only within [`Expr::over_ordered`].
        last => "last_value",
    }

    /// How many different values there are; null is none.
    #[must_use]
    pub fn n_unique(self) -> Expr {
        self.aggregate("count", true)
    }

    /// Each aggregate in the expression over the rows that are equal in some columns, in place of all:
    /// `col("pay") - col("pay").mean().over("team")`.
    #[must_use]
    pub fn over(self, by: impl ToExprs) -> Expr {
        self.windowed(by.to_exprs(), Vec::new())
    }

    /// As [`Expr::over`], with an order within: an aggregate is that of the rows up to this one, and
    /// [`rank`](crate::rank), [`row_number`](crate::row_number) and [`Expr::shift`] count in it.
    #[must_use]
    pub fn over_ordered(self, by: impl ToExprs, order: impl ToExprs) -> Expr {
        self.windowed(by.to_exprs(), order.to_exprs())
    }

    /// The value some rows before, or behind if negative, within [`Expr::over_ordered`]; null where there is none.
    #[must_use]
    pub fn shift(self, rows: i64) -> Expr {
        let function = if rows < 0 { "lead" } else { "lag" };
        let rows = i64::try_from(rows.unsigned_abs()).unwrap_or(i64::MAX);
        self.aggregate_with(function, false, vec![rows.into()])
    }
}

/// Orders, for [`sort`](crate::LazyFrame::sort) and [`Expr::over_ordered`]: ascending, nulls last, if nothing else is said.
impl Expr {
    /// From the least on.
    #[must_use]
    pub fn asc(self) -> Expr {
        self.sorted(Some(false), None)
    }

    /// From the greatest on.
    #[must_use]
    pub fn desc(self) -> Expr {
        self.sorted(Some(true), None)
    }

    /// Nulls before the values.
    #[must_use]
    pub fn nulls_first(self) -> Expr {
        self.sorted(None, Some(true))
    }

    /// Nulls behind the values.
    #[must_use]
    pub fn nulls_last(self) -> Expr {
        self.sorted(None, Some(false))
    }
}

macro_rules! operators {
    ($($trait:ident $method:ident $sql:literal),* $(,)?) => {$(
        impl<R: Into<Expr>> $trait<R> for Expr {
            type Output = Expr;

            fn $method(self, other: R) -> Expr {
                Expr::form(["(", $sql, ")"], vec![self, other.into()])
            }
        }
    )*};
}

operators! {
    Add add " + ",
    Sub sub " - ",
    Mul mul " * ",
    Div div " / ",
    Rem rem " % ",
    BitAnd bitand " AND ",
    BitOr bitor " OR ",
}

macro_rules! number_first {
    ($($number:ty),*) => {
        number_first!(@ $($number => Add add, Sub sub, Mul mul, Div div;)*);
    };
    (@ $($number:ty => $($trait:ident $method:ident),*;)*) => {$($(
        impl $trait<Expr> for $number {
            type Output = Expr;

            fn $method(self, other: Expr) -> Expr {
                $trait::$method(Expr::from(self), other)
            }
        }
    )*)*};
}

number_first!(i32, i64, f64);

impl Neg for Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        Expr::form(["(- ", ")"], vec![self])
    }
}

impl Not for Expr {
    type Output = Expr;

    fn not(self) -> Expr {
        Expr::not(self)
    }
}

/// Begins a choice: `when(col("a").gt(0)).then("plus").otherwise("minus")`.
pub fn when(condition: impl Into<Expr>) -> When {
    When {
        branches: Vec::new(),
        condition: condition.into(),
    }
}

/// A choice that waits for the value of its last condition.
#[derive(Debug, Clone)]
pub struct When {
    branches: Vec<Expr>,
    condition: Expr,
}

/// A choice: an expression that is null where no condition holds.
#[derive(Debug, Clone)]
pub struct Then {
    branches: Vec<Expr>,
}

impl When {
    /// The value where the condition holds, and none before it.
    #[must_use]
    pub fn then(mut self, value: impl Into<Expr>) -> Then {
        self.branches.push(self.condition);
        self.branches.push(value.into());
        Then {
            branches: self.branches,
        }
    }
}

impl Then {
    /// Another condition, for where none has held so far.
    #[must_use]
    pub fn when(self, condition: impl Into<Expr>) -> When {
        When {
            branches: self.branches,
            condition: condition.into(),
        }
    }

    /// The value where no condition holds.
    #[must_use]
    pub fn otherwise(mut self, value: impl Into<Expr>) -> Expr {
        self.branches.push(value.into());
        self.case(" ELSE ")
    }

    /// Under another name; null where no condition holds.
    #[must_use]
    pub fn alias(self, name: impl Into<String>) -> Expr {
        Expr::from(self).alias(name)
    }

    fn case(self, last: &'static str) -> Expr {
        let pairs = self.branches.len() / 2;
        let mut texts = vec![Cow::Borrowed("CASE WHEN "), Cow::Borrowed(" THEN ")];
        for _ in 1..pairs {
            texts.push(Cow::Borrowed(" WHEN "));
            texts.push(Cow::Borrowed(" THEN "));
        }
        if self.branches.len() % 2 == 1 {
            texts.push(Cow::Borrowed(last));
        }
        texts.push(Cow::Borrowed(" END"));
        // It is called as what its first branch gives.
        Expr::form_of(texts, self.branches, 1)
    }
}

impl From<Then> for Expr {
    fn from(choice: Then) -> Expr {
        choice.case("")
    }
}
