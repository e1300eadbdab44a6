//! Unquoted names match exactly, else without regard to case; two candidates are an error.
//!
//! The planner matches exactly. Before it sees a statement, every unquoted name that is a column of
//! a table the statement reads, or an alias made in the statement, is replaced by the name as it is
//! spelled there.

use bireme_protocol::{ErrorCode, Fault, Position};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr, Statement,
    TableFactor, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The names a statement may use, by their lower-case form.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    spellings: BTreeMap<String, BTreeSet<String>>,
}

impl KnownNames {
    pub(crate) fn add(&mut self, name: &str) {
        let spellings = self.spellings.entry(name.to_lowercase()).or_default();
        spellings.insert(name.to_string());
    }

    fn spelling(&self, name: &str) -> Result<Option<&str>, Vec<&str>> {
        let Some(spellings) = self.spellings.get(&name.to_lowercase()) else {
            return Ok(None);
        };
        if let Some(exact) = spellings.get(name) {
            return Ok(Some(exact));
        }
        let mut all = spellings.iter().map(String::as_str);
        match (all.next(), all.next()) {
            (only, None) => Ok(only),
            (first, second) => Err(first.into_iter().chain(second).chain(all).collect()),
        }
    }
}

/// Spells every unquoted name of the statement as it is known.
///
/// # Errors
/// A name that fits more than one known name and none exactly.
pub(crate) fn spell(statement: &mut Statement, mut known: KnownNames) -> Result<(), Fault> {
    let _: ControlFlow<()> = statement.visit(&mut CollectAliases { known: &mut known });
    match statement.visit(&mut Spell { known: &known }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(fault) => Err(*fault),
    }
}

/// Where a token is, for an error.
pub(crate) fn position(span: Span, length: usize) -> Option<Position> {
    let number = |n: u64| u32::try_from(n).ok().filter(|n| *n > 0);
    Some(Position {
        line: number(span.start.line)?,
        column: number(span.start.column)?,
        length: u32::try_from(length).unwrap_or(1).max(1),
    })
}

struct CollectAliases<'a> {
    known: &'a mut KnownNames,
}

impl CollectAliases<'_> {
    fn select(&mut self, select: &Select) {
        for item in &select.projection {
            if let SelectItem::ExprWithAlias { alias, .. } = item {
                self.known.add(&alias.value);
            }
        }
        for window in &select.named_window {
            self.known.add(&window.0.value);
        }
    }

    fn body(&mut self, body: &SetExpr) {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.body(left);
                self.body(right);
            }
            _ => {}
        }
    }
}

impl VisitorMut for CollectAliases<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.known.add(&table.alias.name.value);
            for column in &table.alias.columns {
                self.known.add(&column.name.value);
            }
        }
        self.body(&query.body);
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let alias = match factor {
            TableFactor::Table { alias, name, .. } => {
                if let Some(last) = name.0.last().and_then(|part| part.as_ident()) {
                    self.known.add(&last.value);
                }
                alias
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::UNNEST {
                alias: alias @ Some(_),
                ..
            } => alias,
            _ => return ControlFlow::Continue(()),
        };
        if let Some(alias) = alias {
            self.known.add(&alias.name.value);
            for column in &alias.columns {
                self.known.add(&column.name.value);
            }
        }
        ControlFlow::Continue(())
    }
}

struct Spell<'a> {
    known: &'a KnownNames,
}

impl Spell<'_> {
    fn ident(&self, ident: &mut Ident) -> ControlFlow<Box<Fault>> {
        if ident.quote_style.is_some() {
            return ControlFlow::Continue(());
        }
        match self.known.spelling(&ident.value) {
            Ok(Some(spelling)) => ident.value = spelling.to_string(),
            Ok(None) => {}
            Err(candidates) => {
                let mut fault = Fault::new(
                    ErrorCode::SqlPlanError,
                    format!(
                        "resolve column {:?}: it could be {}",
                        ident.value,
                        candidates.join(" or ")
                    ),
                )
                .with_hint("write the name exactly, or in double quotes");
                fault.position = position(ident.span, ident.value.chars().count());
                return ControlFlow::Break(Box::new(fault));
            }
        }
        ControlFlow::Continue(())
    }

    fn joins(&self, body: &mut SetExpr) -> ControlFlow<Box<Fault>> {
        match body {
            SetExpr::Select(select) => {
                for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
                    if let Some(columns) = using(&mut join.join_operator) {
                        for part in columns.iter_mut().flat_map(|column| &mut column.0) {
                            if let datafusion::sql::sqlparser::ast::ObjectNamePart::Identifier(
                                ident,
                            ) = part
                            {
                                self.ident(ident)?;
                            }
                        }
                    }
                }
                ControlFlow::Continue(())
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.joins(left)?;
                self.joins(right)
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn using(
    operator: &mut JoinOperator,
) -> Option<&mut Vec<datafusion::sql::sqlparser::ast::ObjectName>> {
    let constraint = match operator {
        JoinOperator::Join(c)
        | JoinOperator::Inner(c)
        | JoinOperator::Left(c)
        | JoinOperator::LeftOuter(c)
        | JoinOperator::Right(c)
        | JoinOperator::RightOuter(c)
        | JoinOperator::FullOuter(c)
        | JoinOperator::Semi(c)
        | JoinOperator::LeftSemi(c)
        | JoinOperator::RightSemi(c)
        | JoinOperator::Anti(c)
        | JoinOperator::LeftAnti(c)
        | JoinOperator::RightAnti(c) => c,
        _ => return None,
    };
    match constraint {
        JoinConstraint::Using(columns) => Some(columns),
        _ => None,
    }
}

impl VisitorMut for Spell<'_> {
    type Break = Box<Fault>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.joins(&mut query.body)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(ident) => self.ident(ident),
            Expr::CompoundIdentifier(parts) => {
                for part in parts {
                    self.ident(part)?;
                }
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn check(sql: &str, columns: &[&str]) -> Result<String, Fault> {
        let mut statement = Parser::parse_sql(&GenericDialect {}, sql)
            .unwrap()
            .remove(0);
        let mut known = KnownNames::default();
        for column in columns {
            known.add(column);
        }
        spell(&mut statement, known)?;
        Ok(statement.to_string())
    }

    #[test]
    fn unquoted_names_take_the_known_spelling() {
        let columns = ["SOG", "VesselType"];
        assert_eq!(
            check("SELECT avg(sog) FROM ais GROUP BY vesseltype", &columns).unwrap(),
            "SELECT avg(SOG) FROM ais GROUP BY VesselType"
        );
        assert_eq!(
            check("SELECT \"sog\" FROM ais", &columns).unwrap(),
            "SELECT \"sog\" FROM ais"
        );
    }

    #[test]
    fn aliases_of_the_statement_are_known() {
        assert_eq!(
            check(
                "SELECT x.FAST FROM (SELECT 1 AS Fast) AS X ORDER BY fast",
                &[]
            )
            .unwrap(),
            "SELECT X.Fast FROM (SELECT 1 AS Fast) AS X ORDER BY Fast"
        );
        assert_eq!(
            check("SELECT 1 FROM a JOIN b USING (KEY)", &["key"]).unwrap(),
            "SELECT 1 FROM a JOIN b USING(key)"
        );
    }

    #[test]
    fn two_candidates_are_an_error_with_its_place() {
        let fault = check("SELECT Id FROM t", &["ID", "id"]).unwrap_err();
        assert_eq!(fault.message, "resolve column \"Id\": it could be ID or id");
        assert_eq!(fault.position.unwrap().column, 8);
        assert_eq!(
            check("SELECT id FROM t", &["ID", "id"]).unwrap(),
            "SELECT id FROM t"
        );
    }
}
