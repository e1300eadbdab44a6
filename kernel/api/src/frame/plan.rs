//! [`Plan`]: a frame as steps of SQL, each over those before it.
//!
//! A step becomes a common table expression, so that no number of verbs nests deep, and what two
//! steps share is written once. Which columns a step has is known, which makes names exact.

use crate::frame::expr::Expr;
use crate::frame::sql_text;
use std::collections::HashMap;
use std::sync::Arc;

/// One step: SQL text around the names of the steps it reads.
#[derive(Debug)]
pub(crate) struct Plan {
    /// One more than inputs.
    texts: Vec<String>,
    inputs: Vec<Arc<Plan>>,
    columns: Vec<String>,
    order: Order,
}

/// The order of a step's rows. SQL keeps none from one step to the next, so it is carried along, and written where rows are
/// counted off and at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    pub(crate) keys: Vec<Expr>,
    /// Columns of the step that are there for the keys only.
    pub(crate) hidden: Vec<String>,
    /// The step's own text has the order already.
    pub(crate) is_written: bool,
}

impl Order {
    /// As SQL, with a space before it; empty without keys.
    pub(crate) fn to_sql(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| key.to_order(None)).collect();
        match keys.is_empty() {
            true => String::new(),
            false => format!(" ORDER BY {}", keys.join(", ")),
        }
    }
}

impl Plan {
    /// A step that reads no other: a query of the user's own.
    pub(crate) fn source(sql: String, columns: Vec<String>) -> Arc<Plan> {
        Plan::step(vec![sql], Vec::new(), columns)
    }

    /// A step whose text has the name of each input where its parts meet. Its rows have no order.
    pub(crate) fn step(
        texts: Vec<String>,
        inputs: Vec<Arc<Plan>>,
        columns: Vec<String>,
    ) -> Arc<Plan> {
        Plan::ordered(texts, inputs, columns, Order::default())
    }

    /// The same, with an order of its rows.
    pub(crate) fn ordered(
        texts: Vec<String>,
        inputs: Vec<Arc<Plan>>,
        columns: Vec<String>,
        order: Order,
    ) -> Arc<Plan> {
        Arc::new(Plan {
            texts,
            inputs,
            columns,
            order,
        })
    }

    /// The same rows in another order.
    pub(crate) fn sorted(&self, keys: Vec<Expr>) -> Arc<Plan> {
        let order = Order {
            keys,
            hidden: self.order.hidden.clone(),
            is_written: false,
        };
        let (texts, inputs) = (self.texts.clone(), self.inputs.clone());
        Plan::ordered(texts, inputs, self.columns.clone(), order)
    }

    /// The names of its columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The order of its rows.
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// The whole query.
    pub(crate) fn to_sql(self: &Arc<Self>) -> String {
        let mut steps = Steps::default();
        let Order {
            keys,
            hidden,
            is_written,
        } = &self.order;
        let last = match hidden.is_empty() && (keys.is_empty() || *is_written) {
            true => steps.text(self),
            false => {
                let columns = match hidden.is_empty() {
                    true => "*".to_string(),
                    false => sql_text::names(&self.columns),
                };
                let order = self.order.to_sql();
                format!("SELECT {columns} FROM {}{order}", steps.name(self))
            }
        };
        match steps.written.is_empty() {
            true => last,
            false => format!("WITH {}\n{last}", steps.written.join(",\n")),
        }
    }
}

#[derive(Default)]
struct Steps {
    written: Vec<String>,
    names: HashMap<*const Plan, String>,
}

impl Steps {
    fn text(&mut self, plan: &Arc<Plan>) -> String {
        let mut inputs = Vec::new();
        for input in &plan.inputs {
            inputs.push(self.name(input));
        }
        let mut inputs = inputs.into_iter();
        let pieces = plan.texts.iter().map(|text| {
            let input = inputs.next().unwrap_or_default();
            format!("{text}{input}")
        });
        pieces.collect()
    }

    /// The name of a step, which is written if it is not yet.
    fn name(&mut self, plan: &Arc<Plan>) -> String {
        let place = Arc::as_ptr(plan);
        if let Some(name) = self.names.get(&place) {
            return name.clone();
        }
        let text = self.text(plan);
        let name = format!("\"__step_{}\"", self.written.len() + 1);
        self.written.push(format!("{name} AS (\n{text}\n)"));
        self.names.insert(place, name.clone());
        name
    }
}
