//! [`GroupBy`]: a frame in groups, which waits for its aggregates.

use crate::frame::expr::{Expr, ToExprs};
use crate::frame::lazy_frame::{LazyFrame, check, expand, over};
use crate::frame::plan::Order;
use crate::frame_error::FrameError;

/// A frame in groups. [`GroupBy::agg`] says what is told of each.
#[derive(Debug, Clone)]
pub struct GroupBy {
    frame: LazyFrame,
    keys: Vec<Expr>,
}

impl LazyFrame {
    /// In groups of rows that are equal in some columns; nulls are equal.
    #[must_use]
    pub fn group_by(&self, keys: impl ToExprs) -> GroupBy {
        let frame = self.clone();
        let keys = keys.to_exprs();
        GroupBy { frame, keys }
    }
}

impl GroupBy {
    /// One row per group: its keys and these aggregates, in any order of rows.
    #[must_use]
    pub fn agg(&self, aggregates: impl ToExprs) -> LazyFrame {
        const VERB: &str = "agg";
        self.frame.verb(VERB, |plan| {
            let keys = expand(self.keys.clone(), plan);
            let aggregates = aggregates.to_exprs();
            for key in &keys {
                check("group_by", plan, key)?;
                let contents = key.contents();
                if contents.has_aggregates || contents.has_windows {
                    let reason = "a key is a value of each row; make it with `with_columns` first";
                    return Err(FrameError::refused("group_by", reason));
                }
            }
            for aggregate in &aggregates {
                check(VERB, plan, aggregate)?;
                if aggregate.contents().has_rows {
                    let name = aggregate.output_name();
                    let reason = format!(
                        "{name:?} has a value per row, and a group has one: use an aggregate such as \
                         sum(), mean(), first() or n_unique()"
                    );
                    return Err(FrameError::refused(VERB, reason));
                }
            }
            if keys.is_empty() {
                let reason = "it needs a key at least; `select` aggregates the whole frame";
                return Err(FrameError::refused("group_by", reason));
            }
            let list: Vec<Expr> = keys.iter().chain(&aggregates).cloned().collect();
            let columns: Vec<String> = list.iter().map(Expr::output_name).collect();
            // By place: a key may be called as another column.
            let places: Vec<String> = (1..=keys.len()).map(|place| place.to_string()).collect();
            let tail = format!(" GROUP BY {}", places.join(", "));
            Ok(over(plan, &list, None, &tail, &columns, Order::default()))
        })
    }
}
