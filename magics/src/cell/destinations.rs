//! What becomes of a cell's last query when its rows are not shown: a view, a frame, files.

use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use bireme_client::{RunOptions, Statement};
use bireme_protocol::proto::PersistOptions;
use bireme_protocol::{Fault, Position};

use crate::cell::script::{Script, acknowledgement};
use crate::display::units::{counted, milliseconds};
use crate::frame;

impl Script<'_> {
    /// Keeps the rows of a query as a frame; gives the acknowledgement.
    pub(crate) async fn persist(
        &mut self,
        name: &str,
        name_at: Position,
        query: &Statement,
        layout: PersistOptions,
        timeout: Option<Duration>,
    ) -> Result<String, Fault> {
        let sql = format!("CREATE TABLE {name} AS\n{}", query.text);
        let options = RunOptions {
            values: self.bound.values_in(&query.text),
            ..frame::options(layout, timeout)
        };
        let outcome = self.runner.run(&sql, &options).await;
        let outcome = outcome.map_err(|fault| self.place_below(fault, name_at, query))?;
        Ok(frame::made(&outcome.summary))
    }

    /// Writes the rows of a query to a file or a directory; gives the acknowledgement.
    pub(crate) async fn sink(
        &mut self,
        path: &str,
        path_at: Position,
        query: &Statement,
        timeout: Option<Duration>,
    ) -> Result<String, Fault> {
        // A file tells its format; a directory gets that which keeps types and reads fastest.
        let stored = match path.rsplit('/').next().unwrap_or(path).contains('.') {
            true => "",
            false => " STORED AS PARQUET",
        };
        // On lines of its own, so that a comment at its end does not reach further.
        let quoted = path.replace('\'', "''");
        let sql = format!("COPY (\n{}\n) TO '{quoted}'{stored}", query.text);
        let options = RunOptions {
            values: self.bound.values_in(&query.text),
            timeout,
            ..RunOptions::default()
        };
        let outcome = self.runner.run(&sql, &options).await;
        let outcome = outcome.map_err(|fault| self.place_below(fault, path_at, query))?;
        let counts = outcome.batches.iter().filter(|batch| batch.num_rows() > 0);
        let rows: u64 = counts
            .filter_map(|batch| batch.column(0).as_primitive_opt::<UInt64Type>())
            .map(|counted| counted.value(0))
            .sum();
        let elapsed = u64::try_from(outcome.summary.elapsed.as_millis()).unwrap_or(u64::MAX);
        Ok(format!(
            "{path}: {} written in {}",
            counted(rows, "row"),
            milliseconds(elapsed)
        ))
    }

    /// Moves a fault's place from a statement with a line of ours above the user's to the cell.
    fn place_below(&self, fault: Fault, name_at: Position, query: &Statement) -> Fault {
        match fault.position {
            // The line above the user's own text has nothing of theirs but the name.
            Some(at) if at.line <= 1 => fault.at(name_at),
            Some(at) => {
                let line = at.line - 1;
                let fault = fault.at(Position { line, ..at });
                self.place(fault, &query.text, query.offset)
            }
            None => fault,
        }
    }

    /// Defines a view by the query of a statement; gives the acknowledgement. `name_at` is where
    /// the name stands in the cell.
    pub(crate) async fn define_view(
        &mut self,
        name: &str,
        name_at: Position,
        query: &Statement,
    ) -> Result<String, Fault> {
        let sql = format!("CREATE OR REPLACE VIEW {name} AS\n{}", query.text);
        let values = self.bound.values_in(&query.text);
        let defined = self.runner.define(&sql, values).await;
        let reply = defined.map_err(|fault| self.place_below(fault, name_at, query))?;
        Ok(acknowledgement(reply))
    }
}
