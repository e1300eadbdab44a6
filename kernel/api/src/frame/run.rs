//! Where frames come from, and what runs them: each of these asks the kernel.

use crate::cell;
use crate::frame::lazy_frame::LazyFrame;
use crate::frame::sql_text;
use crate::frame_error::FrameError;
use crate::kernel_door::{ask, rows, unexpected};
use crate::request::{Answer, Request};
use crate::show::{Show, Shown};
use crate::table::Table;
use std::fmt;

/// The rows of a query in SQL, which may be of several statements: those before the last run now. `$name` is a parameter of the
/// notebook. As everywhere in SQL, verbs do not keep the order of an `ORDER BY`: [`LazyFrame::sort`] does. Statements that are no query, such as `CREATE VIEW`, run and give an empty frame.
///
/// ```no_run
/// # use bireme::prelude::*;
/// # fn main() -> Result<(), FrameError> {
/// let fast = sql("SELECT * FROM 'ais/*.parquet' WHERE \"SOG\" > 15")?;
/// let table = fast.limit(5).collect()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the statement cannot be planned, or there is no kernel.
pub fn sql(statements: impl Into<String>) -> Result<LazyFrame, FrameError> {
    let answer = ask(&Request::Define(statements.into()))?;
    match answer {
        Answer::Query(sql, columns) => Ok(LazyFrame::source(sql, columns)),
        Answer::Done(text) => {
            let sql = format!("SELECT {} AS \"done\"", sql_text::text(&text));
            Ok(LazyFrame::source(sql, vec!["done".to_string()]))
        }
        other => Err(unexpected("columns", &other)),
    }
}

/// A frame, view or table of the session, whose name is matched exactly.
///
/// # Errors
/// When there is none of this name, or no kernel.
pub fn frame(name: &str) -> Result<LazyFrame, FrameError> {
    sql(format!("SELECT * FROM {}", sql_text::name(name)))
}

/// The rows of Parquet files: a path, or a pattern such as `trips/*.parquet`. Relative paths begin where the
/// notebook is.
///
/// # Errors
/// When no file is there, it cannot be read, or its name is none of Parquet.
pub fn scan_parquet(path: &str) -> Result<LazyFrame, FrameError> {
    scan("scan_parquet", path, &["parquet"])
}

/// The rows of CSV files with a header, `.csv` or `.tsv`, compressed or not; see [`scan_parquet`].
///
/// # Errors
/// As [`scan_parquet`].
pub fn scan_csv(path: &str) -> Result<LazyFrame, FrameError> {
    scan("scan_csv", path, &["csv", "tsv"])
}

/// The rows of files with one JSON object per line, `.json`, `.jsonl` or `.ndjson`; see [`scan_parquet`].
///
/// # Errors
/// As [`scan_parquet`].
pub fn scan_json(path: &str) -> Result<LazyFrame, FrameError> {
    scan("scan_json", path, &["json", "jsonl", "ndjson"])
}

fn scan(verb: &'static str, path: &str, endings: &[&str]) -> Result<LazyFrame, FrameError> {
    let lower = path.to_lowercase();
    let plain = ["gz", "bz2", "xz", "zst"].iter().find_map(|ending| {
        let rest = lower.strip_suffix(ending)?;
        rest.strip_suffix('.')
    });
    let plain = plain.unwrap_or(&lower);
    let fits = |ending: &&str| plain.ends_with(&format!(".{ending}"));
    if !endings.iter().any(fits) {
        let reason = format!(
            "{path:?} ends in none of {}; `CREATE EXTERNAL TABLE` in SQL reads files of any name",
            endings.join(", ")
        );
        return Err(FrameError::refused(verb, reason));
    }
    sql(format!("SELECT * FROM {}", sql_text::text(path)))
}

impl LazyFrame {
    /// Runs the query and takes all rows, at most `rust.bind_limit` bytes of them.
    ///
    /// # Errors
    /// When the query fails, is interrupted, or gives more.
    pub fn collect(&self) -> Result<Table, FrameError> {
        rows(self.to_sql()?)
    }

    /// Runs the query and keeps its rows on the engines, as the frame of this name, which replaces one there was.
    /// Gives that frame.
    ///
    /// # Errors
    /// When the query fails, or the engines cannot keep its rows.
    pub fn persist(&self, name: &str) -> Result<LazyFrame, FrameError> {
        let query = self.to_sql()?;
        sql(format!("CREATE TABLE {} AS {query}", sql_text::name(name)))?;
        frame(name)
    }

    /// How the engines would run the query.
    ///
    /// # Errors
    /// When the query cannot be planned.
    pub fn explain(&self) -> Result<QueryPlan, FrameError> {
        self.plan_of(false)
    }

    /// Runs the query, throws its rows away, and tells where its time went.
    ///
    /// # Errors
    /// When the query fails.
    pub fn explain_analyze(&self) -> Result<QueryPlan, FrameError> {
        self.plan_of(true)
    }

    fn plan_of(&self, is_run: bool) -> Result<QueryPlan, FrameError> {
        match ask(&Request::Explain(self.to_sql()?, is_run))? {
            Answer::Drawn(text, html) => Ok(QueryPlan { text, html }),
            other => Err(unexpected("plans", &other)),
        }
    }

    /// Runs the query and shows its first and last rows now; only those leave the engines.
    ///
    /// # Errors
    /// When the query fails.
    pub fn show(&self) -> Result<(), FrameError> {
        self.drawn().map(|shown| shown.send())
    }

    fn drawn(&self) -> Result<Shown, FrameError> {
        match ask(&Request::Show(self.to_sql()?))? {
            Answer::Drawn(text, html) => Ok(shown(&text, &html)),
            other => Err(unexpected("rows", &other)),
        }
    }
}

impl Show for LazyFrame {
    /// The first and last rows, or why there are none.
    fn shown(&self) -> Shown {
        let told = |error: FrameError| Shown::new().with("text/plain", error.to_string());
        self.drawn().unwrap_or_else(told)
    }

    fn evcxr_display(&self) {
        match self.drawn() {
            Ok(shown) => shown.send(),
            Err(error) => cell::fail(&error.to_string()),
        }
    }
}

/// A plan as the engines drew it.
#[derive(Clone, PartialEq, Eq)]
pub struct QueryPlan {
    text: String,
    html: String,
}

impl fmt::Display for QueryPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for QueryPlan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Show for QueryPlan {
    fn shown(&self) -> Shown {
        shown(&self.text, &self.html)
    }
}

fn shown(text: &str, html: &str) -> Shown {
    let shown = Shown::new().with("text/plain", text);
    match html.is_empty() {
        true => shown,
        false => shown.with("text/html", html),
    }
}
