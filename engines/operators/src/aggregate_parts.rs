//! What rules that plan aggregates anew share: expressions by their place in a list, columns by their number.

use datafusion::common::Column;
use datafusion::logical_expr::{Aggregate, Expr};

/// Where it is in the list, at the end if it was not: what is equal is computed once.
pub(crate) fn position(list: &mut Vec<Expr>, expr: Expr) -> usize {
    let found = list.iter().position(|one| *one == expr);
    found.unwrap_or_else(|| {
        list.push(expr);
        list.len() - 1
    })
}

/// The column of this number: keys come first, then values.
pub(crate) fn column_of(aggregate: &Aggregate, index: usize) -> Expr {
    Expr::Column(Column::from(aggregate.schema.qualified_field(index)))
}
