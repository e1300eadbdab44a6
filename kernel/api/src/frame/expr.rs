//! [`Expr`]: what a verb computes: columns, literals, and what is made of them.
//!
//! It is a tree that says nothing about a frame; which columns there are is checked by the verb that
//! takes it. Its methods are in a file of their own.

use crate::frame::sql_text;
use std::borrow::Cow;

/// An expression over the columns of a frame.
///
/// ```
/// # use bireme::prelude::*;
/// let speed = (col("km") / col("hours")).alias("speed");
/// let is_fast = col("speed").gt(30).and(col("kind").neq("train"));
/// ```
///
/// Numbers, `bool`, text and `Option` of these stand for themselves wherever an expression is taken as
/// an operand: `col("a") + 1`, `col("name").eq("Ada")`. Where columns are taken, as by
/// [`select`](crate::LazyFrame::select), text is the name of one. Values are null, and compare, as in SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr(Box<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Column(String),
    All,
    Literal(String),
    /// Text around parts; its name is that of the part `named`.
    Form {
        texts: Vec<Cow<'static, str>>,
        parts: Vec<Expr>,
        named: usize,
    },
    /// One value of many rows.
    Aggregate {
        function: &'static str,
        is_distinct: bool,
        /// None stands for all rows.
        arguments: Vec<Expr>,
        name: Option<&'static str>,
    },
    Over {
        of: Expr,
        by: Vec<Expr>,
        order: Vec<Expr>,
    },
    Alias(Expr, String),
    Sorted {
        of: Expr,
        is_descending: bool,
        nulls_first: bool,
    },
}

/// What an expression has in it, outside of aggregates and windows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// A column of its own, or a value per row.
    pub(crate) has_rows: bool,
    /// An aggregate of all rows.
    pub(crate) has_aggregates: bool,
    /// A window.
    pub(crate) has_windows: bool,
}

/// A column, by its name, which is matched exactly.
pub fn col(name: impl Into<String>) -> Expr {
    Expr::new(Node::Column(name.into()))
}

/// A literal: a number, `bool`, text, or an `Option` of these.
pub fn lit(value: impl Into<Expr>) -> Expr {
    value.into()
}

/// All columns of the frame.
pub fn all() -> Expr {
    Expr::new(Node::All)
}

/// How many rows there are: of a group, a window, or the frame.
pub fn len() -> Expr {
    Expr::new(Node::Aggregate {
        function: "count",
        is_distinct: false,
        arguments: Vec::new(),
        name: Some("len"),
    })
}

/// The number of each row within [`over_ordered`](Expr::over_ordered), from 1.
pub fn row_number() -> Expr {
    ranking("row_number")
}

/// The rank of each row within [`over_ordered`](Expr::over_ordered), from 1; equal rows have the same, and
/// leave a gap behind them.
pub fn rank() -> Expr {
    ranking("rank")
}

/// As [`rank`], without gaps.
pub fn dense_rank() -> Expr {
    ranking("dense_rank")
}

/// A scalar function of SQL, for example `function("left", [col("name"), lit(3)])`.
pub fn function(name: &str, arguments: impl IntoIterator<Item = impl Into<Expr>>) -> Expr {
    let arguments = arguments.into_iter().map(Into::into).collect();
    // A name in quotes would be matched exactly.
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let name: String = name.chars().filter(|letter| is_word(*letter)).collect();
    Expr::call(name, arguments)
}

fn ranking(function: &'static str) -> Expr {
    Expr::new(Node::Aggregate {
        function,
        is_distinct: false,
        arguments: Vec::new(),
        name: Some(function),
    })
}

/// One column or several, where a verb takes columns: names or expressions.
pub trait ToExprs {
    /// The expressions; a name is a column.
    fn to_exprs(self) -> Vec<Expr>;
}

/// A column, where a verb takes columns: a name or an expression.
pub trait ToColumn {
    /// The expression; a name is a column.
    fn to_column(self) -> Expr;
}

impl ToColumn for Expr {
    fn to_column(self) -> Expr {
        self
    }
}

impl ToColumn for &Expr {
    fn to_column(self) -> Expr {
        self.clone()
    }
}

impl ToColumn for &str {
    fn to_column(self) -> Expr {
        col(self)
    }
}

impl ToColumn for String {
    fn to_column(self) -> Expr {
        col(self)
    }
}

impl ToColumn for &String {
    fn to_column(self) -> Expr {
        col(self)
    }
}

impl<T: ToColumn> ToExprs for T {
    fn to_exprs(self) -> Vec<Expr> {
        vec![self.to_column()]
    }
}

impl<T: ToColumn, const N: usize> ToExprs for [T; N] {
    fn to_exprs(self) -> Vec<Expr> {
        self.into_iter().map(ToColumn::to_column).collect()
    }
}

impl<T: ToColumn> ToExprs for Vec<T> {
    fn to_exprs(self) -> Vec<Expr> {
        self.into_iter().map(ToColumn::to_column).collect()
    }
}

impl From<&Expr> for Expr {
    fn from(expression: &Expr) -> Expr {
        expression.clone()
    }
}

impl Expr {
    fn new(node: Node) -> Expr {
        Expr(Box::new(node))
    }

    pub(crate) fn literal(sql: String) -> Expr {
        Expr::new(Node::Literal(sql))
    }

    /// Text around parts, in brackets; the first part names it.
    pub(crate) fn form<const N: usize>(texts: [&'static str; N], parts: Vec<Expr>) -> Expr {
        let texts = texts.into_iter().map(Cow::Borrowed).collect();
        Expr::new(Node::Form {
            texts,
            parts,
            named: 0,
        })
    }

    pub(crate) fn form_of(texts: Vec<Cow<'static, str>>, parts: Vec<Expr>, named: usize) -> Expr {
        Expr::new(Node::Form {
            texts,
            parts,
            named,
        })
    }

    pub(crate) fn call(function: impl Into<Cow<'static, str>>, arguments: Vec<Expr>) -> Expr {
        let function = function.into();
        let mut texts = vec![Cow::Owned(format!("{function}("))];
        texts.extend((1..arguments.len()).map(|_| Cow::Borrowed(", ")));
        match arguments.is_empty() {
            true => Expr::literal(format!("{function}()")),
            false => {
                texts.push(Cow::Borrowed(")"));
                Expr::form_of(texts, arguments, 0)
            }
        }
    }

    pub(crate) fn aggregate(self, function: &'static str, is_distinct: bool) -> Expr {
        self.aggregate_with(function, is_distinct, Vec::new())
    }

    pub(crate) fn aggregate_with(
        self,
        function: &'static str,
        is_distinct: bool,
        more: Vec<Expr>,
    ) -> Expr {
        let arguments = std::iter::once(self).chain(more).collect();
        Expr::new(Node::Aggregate {
            function,
            is_distinct,
            arguments,
            name: None,
        })
    }

    pub(crate) fn windowed(self, by: Vec<Expr>, order: Vec<Expr>) -> Expr {
        Expr::new(Node::Over {
            of: self,
            by,
            order,
        })
    }

    pub(crate) fn named(self, name: String) -> Expr {
        Expr::new(Node::Alias(self, name))
    }

    pub(crate) fn sorted(self, descending: Option<bool>, first: Option<bool>) -> Expr {
        let (of, is_descending, nulls_first) = match *self.0 {
            Node::Sorted {
                of,
                is_descending,
                nulls_first,
            } => (of, is_descending, nulls_first),
            node => (Expr::new(node), false, false),
        };
        Expr::new(Node::Sorted {
            of,
            is_descending: descending.unwrap_or(is_descending),
            nulls_first: first.unwrap_or(nulls_first),
        })
    }

    /// Without its order.
    pub(crate) fn unsorted(&self) -> Expr {
        match &*self.0 {
            Node::Sorted { of, .. } => of.clone(),
            _ => self.clone(),
        }
    }

    /// Another expression in the same order.
    pub(crate) fn replaced(self, by: Expr) -> Expr {
        match *self.0 {
            Node::Sorted {
                is_descending,
                nulls_first,
                ..
            } => Expr::new(Node::Sorted {
                of: by,
                is_descending,
                nulls_first,
            }),
            _ => by,
        }
    }

    /// Whether it is [`all`].
    pub(crate) fn is_all(&self) -> bool {
        *self.0 == Node::All
    }

    /// The column it is, if it is just that.
    pub(crate) fn as_column(&self) -> Option<&str> {
        match &*self.0 {
            Node::Column(name) => Some(name),
            _ => None,
        }
    }

    /// What its column is called: as its first column, if nothing else is said.
    pub(crate) fn output_name(&self) -> String {
        self.root_name().unwrap_or_else(|| "literal".to_string())
    }

    fn root_name(&self) -> Option<String> {
        match &*self.0 {
            Node::Column(name) | Node::Alias(_, name) => Some(name.clone()),
            Node::All | Node::Literal(_) => None,
            Node::Form { parts, named, .. } => {
                let first = parts.get(*named).and_then(Expr::root_name);
                first.or_else(|| parts.iter().find_map(Expr::root_name))
            }
            Node::Aggregate {
                name, arguments, ..
            } => match name {
                Some(name) => Some((*name).to_string()),
                None => arguments.first().and_then(Expr::root_name),
            },
            Node::Over { of, .. } | Node::Sorted { of, .. } => of.root_name(),
        }
    }

    /// The first column that is not among some.
    pub(crate) fn unknown_column(&self, columns: &[String]) -> Option<String> {
        match &*self.0 {
            Node::Column(name) => (!columns.contains(name)).then(|| name.clone()),
            _ => {
                let mut parts = self.parts().into_iter();
                parts.find_map(|part| part.unknown_column(columns))
            }
        }
    }

    /// What it has outside of aggregates and windows.
    pub(crate) fn contents(&self) -> Contents {
        match &*self.0 {
            Node::Column(_) | Node::All => Contents {
                has_rows: true,
                ..Contents::default()
            },
            Node::Aggregate { .. } => Contents {
                has_aggregates: true,
                ..Contents::default()
            },
            Node::Over { .. } => Contents {
                has_rows: true,
                has_windows: true,
                ..Contents::default()
            },
            _ => {
                let parts = self.parts();
                let all = parts.into_iter().map(Expr::contents);
                all.fold(Contents::default(), |one, other| Contents {
                    has_rows: one.has_rows || other.has_rows,
                    has_aggregates: one.has_aggregates || other.has_aggregates,
                    has_windows: one.has_windows || other.has_windows,
                })
            }
        }
    }

    /// Whether an order stands where none can.
    pub(crate) fn has_order_inside(&self) -> bool {
        let inside =
            |part: &Expr| matches!(*part.0, Node::Sorted { .. }) || part.has_order_inside();
        match &*self.0 {
            Node::Over { of, by, .. } => std::iter::once(of).chain(by).any(inside),
            _ => self.parts().into_iter().any(inside),
        }
    }

    /// Whether it is an order.
    pub(crate) fn is_order(&self) -> bool {
        matches!(*self.0, Node::Sorted { .. })
    }

    fn parts(&self) -> Vec<&Expr> {
        match &*self.0 {
            Node::Column(_) | Node::All | Node::Literal(_) => Vec::new(),
            Node::Form { parts, .. } => parts.iter().collect(),
            Node::Aggregate { arguments, .. } => arguments.iter().collect(),
            Node::Over { of, by, order } => std::iter::once(of).chain(by).chain(order).collect(),
            Node::Alias(of, _) | Node::Sorted { of, .. } => vec![of],
        }
    }

    /// The expression as SQL. Columns are those of `table`, if one is given; aggregates are over
    /// `window`, if one is given.
    pub(crate) fn to_sql(&self, table: Option<&str>, window: Option<&str>) -> String {
        let sql = |part: &Expr| part.to_sql(table, window);
        let list = |parts: &[Expr]| {
            let parts: Vec<String> = parts.iter().map(|part| part.to_sql(table, None)).collect();
            parts.join(", ")
        };
        match &*self.0 {
            Node::Column(name) => {
                let table = table.map_or_else(String::new, |table| format!("{table}."));
                format!("{table}{}", sql_text::name(name))
            }
            Node::All => "*".to_string(),
            Node::Literal(sql) => sql.clone(),
            Node::Form { texts, parts, .. } => {
                let mut parts = parts.iter().map(sql);
                let pieces = texts.iter().map(|text| {
                    let part = parts.next().unwrap_or_default();
                    format!("{text}{part}")
                });
                pieces.collect()
            }
            Node::Aggregate {
                function,
                is_distinct,
                arguments,
                ..
            } => {
                let distinct = if *is_distinct { "DISTINCT " } else { "" };
                let arguments = match (arguments.is_empty(), *function == "count") {
                    (true, true) => "*".to_string(),
                    _ => list(arguments),
                };
                let over = window.map_or_else(String::new, |window| format!(" OVER ({window})"));
                format!("{function}({distinct}{arguments}){over}")
            }
            Node::Over { of, by, order } => {
                let mut window = Vec::new();
                if !by.is_empty() {
                    window.push(format!("PARTITION BY {}", list(by)));
                }
                if !order.is_empty() {
                    let order: Vec<String> = order.iter().map(|key| key.to_order(table)).collect();
                    window.push(format!("ORDER BY {}", order.join(", ")));
                }
                of.to_sql(table, Some(&window.join(" ")))
            }
            Node::Alias(of, _) | Node::Sorted { of, .. } => sql(of),
        }
    }

    /// The expression as a key of an order; nulls come last if nothing else is said.
    pub(crate) fn to_order(&self, table: Option<&str>) -> String {
        let (is_descending, nulls_first) = match *self.0 {
            Node::Sorted {
                is_descending,
                nulls_first,
                ..
            } => (is_descending, nulls_first),
            _ => (false, false),
        };
        let direction = if is_descending { "DESC" } else { "ASC" };
        let nulls = if nulls_first { "FIRST" } else { "LAST" };
        format!("{} {direction} NULLS {nulls}", self.to_sql(table, None))
    }
}
