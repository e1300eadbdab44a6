//! Joins of two frames, with the columns as Polars gives them.

use crate::frame::expr::{Expr, ToExprs};
use crate::frame::lazy_frame::{LazyFrame, check};
use crate::frame::plan::Plan;
use crate::frame::sql_text;
use crate::frame_error::FrameError;
use std::sync::Arc;

/// Which rows a join keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinType {
    /// Pairs of rows whose keys are equal.
    Inner,
    /// Those, and the left rows without a partner.
    Left,
    /// Those, and the right rows without a partner.
    Right,
    /// Those, and all rows without a partner.
    Full,
    /// The left rows with a partner, once; left columns only.
    Semi,
    /// The left rows without a partner; left columns only.
    Anti,
}

const VERB: &str = "join";
const LEFT: &str = "\"__left\"";
const RIGHT: &str = "\"__right\"";
/// What a right column gets whose name the left has.
const SUFFIX: &str = "_right";

impl LazyFrame {
    /// Rows of this frame beside those of another whose keys are equal; nulls are equal to nothing.
    ///
    /// Key columns come once; a full join of keys with different names keeps both. A right column whose name the left has gets
    /// `_right` behind it.
    ///
    /// ```no_run
    /// # use bireme::prelude::*;
    /// # fn main() -> Result<(), FrameError> {
    /// let ports = frame("ports")?;
    /// let calls = frame("calls")?.join(&ports, "port_id", "id", JoinType::Left);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn join(
        &self,
        other: &LazyFrame,
        left_on: impl ToExprs,
        right_on: impl ToExprs,
        how: JoinType,
    ) -> LazyFrame {
        self.verb(VERB, |left| {
            let right = other.plan.as_ref().map_err(Clone::clone)?;
            Join {
                left,
                right,
                left_on: left_on.to_exprs(),
                right_on: right_on.to_exprs(),
                how,
            }
            .plan()
        })
    }

    /// Pairs of rows with equal keys, of the same name in both; see [`LazyFrame::join`].
    #[must_use]
    pub fn inner_join(&self, other: &LazyFrame, on: impl ToExprs) -> LazyFrame {
        let on = on.to_exprs();
        self.join(other, on.clone(), on, JoinType::Inner)
    }

    /// Those, and the left rows without a partner; see [`LazyFrame::join`].
    #[must_use]
    pub fn left_join(&self, other: &LazyFrame, on: impl ToExprs) -> LazyFrame {
        let on = on.to_exprs();
        self.join(other, on.clone(), on, JoinType::Left)
    }

    /// Every row of this frame beside every row of another.
    #[must_use]
    pub fn cross_join(&self, other: &LazyFrame) -> LazyFrame {
        self.verb("cross_join", |left| {
            let right = other.plan.as_ref().map_err(Clone::clone)?;
            let mut columns = Columns::default();
            for name in left.columns() {
                columns.add(format!("{LEFT}.{}", sql_text::name(name)), name.clone());
            }
            columns.add_right(left, right, &[]);
            Ok(columns.over(left, right, "CROSS JOIN", ""))
        })
    }
}

struct Join<'j> {
    left: &'j Arc<Plan>,
    right: &'j Arc<Plan>,
    left_on: Vec<Expr>,
    right_on: Vec<Expr>,
    how: JoinType,
}

/// The columns of a join: SQL and name.
#[derive(Default)]
struct Columns {
    items: Vec<String>,
    names: Vec<String>,
}

impl Join<'_> {
    fn plan(&self) -> Result<Arc<Plan>, FrameError> {
        self.check()?;
        let pairs = self.left_on.iter().zip(&self.right_on);
        let pairs = pairs.map(|(left, right)| {
            let (left, right) = (
                left.to_sql(Some(LEFT), None),
                right.to_sql(Some(RIGHT), None),
            );
            format!("{left} = {right}")
        });
        let on = format!(" ON {}", pairs.collect::<Vec<_>>().join(" AND "));
        let kind = match self.how {
            JoinType::Inner => "JOIN",
            JoinType::Left => "LEFT JOIN",
            JoinType::Right => "RIGHT JOIN",
            JoinType::Full => "FULL JOIN",
            JoinType::Semi => "LEFT SEMI JOIN",
            JoinType::Anti => "LEFT ANTI JOIN",
        };
        let mut columns = Columns::default();
        for name in self.left.columns() {
            columns.add(self.left_column(name), name.clone());
        }
        if !matches!(self.how, JoinType::Semi | JoinType::Anti) {
            columns.add_right(self.left, self.right, &self.hidden());
        }
        Ok(columns.over(self.left, self.right, kind, &on))
    }

    fn check(&self) -> Result<(), FrameError> {
        let (left, right) = (self.left_on.len(), self.right_on.len());
        if left != right || left == 0 {
            let reason =
                format!("there are {left} left keys and {right} right ones; it takes pairs");
            return Err(FrameError::refused(VERB, reason));
        }
        let keys = |plan: &Plan, keys: &[Expr]| {
            keys.iter().try_for_each(|key| {
                let contents = key.contents();
                if contents.has_aggregates || contents.has_windows {
                    let reason = "a key is a value of each row; make it with `with_columns` first";
                    return Err(FrameError::refused(VERB, reason));
                }
                check(VERB, plan, key)
            })
        };
        keys(self.left, &self.left_on)?;
        keys(self.right, &self.right_on)
    }

    /// A left column. Where rows may have no left part, a key is that of the right.
    fn left_column(&self, name: &str) -> String {
        let left = format!("{LEFT}.{}", sql_text::name(name));
        let mut pairs = self.left_on.iter().zip(&self.right_on);
        let partner = pairs.find_map(|(left, right)| {
            let right = right.as_column()?;
            (left.as_column() == Some(name)).then_some(right)
        });
        let Some(partner) = partner else { return left };
        let right = format!("{RIGHT}.{}", sql_text::name(partner));
        match self.how {
            JoinType::Right => right,
            JoinType::Full if partner == name => format!("coalesce({left}, {right})"),
            _ => left,
        }
    }

    /// Right key columns that their left partner tells already.
    fn hidden(&self) -> Vec<&str> {
        let pairs = self.left_on.iter().zip(&self.right_on);
        let hidden = pairs.filter_map(|(left, right)| {
            let (left, right) = (left.as_column()?, right.as_column()?);
            (self.how != JoinType::Full || left == right).then_some(right)
        });
        hidden.collect()
    }
}

impl Columns {
    fn add(&mut self, sql: String, name: String) {
        self.items
            .push(format!("{sql} AS {}", sql_text::name(&name)));
        self.names.push(name);
    }

    fn add_right(&mut self, left: &Plan, right: &Plan, hidden: &[&str]) {
        for name in right.columns() {
            if hidden.contains(&name.as_str()) {
                continue;
            }
            let sql = format!("{RIGHT}.{}", sql_text::name(name));
            let is_taken = left.columns().contains(name);
            let suffix = if is_taken { SUFFIX } else { "" };
            self.add(sql, format!("{name}{suffix}"));
        }
    }

    fn over(self, left: &Arc<Plan>, right: &Arc<Plan>, kind: &str, on: &str) -> Arc<Plan> {
        let texts = vec![
            format!("SELECT {} FROM ", self.items.join(", ")),
            format!(" AS {LEFT} {kind} "),
            format!(" AS {RIGHT}{on}"),
        ];
        Plan::step(texts, vec![Arc::clone(left), Arc::clone(right)], self.names)
    }
}
