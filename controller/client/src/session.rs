//! One notebook's names on the cluster, from the client's side.

use crate::cluster::{Cluster, within};
use crate::query::Query;
use bireme_protocol::proto::{
    BoundValue, Catalog, ConfigureRequest, DefineReply, DefineRequest, Delivery, DropRequest,
    SessionInfo, SessionRef, StatementMode, SubmitRequest,
};
use bireme_protocol::{Fault, QueryId, SessionName};
use std::time::Duration;
use tonic::Request;

/// Planning a definition may read the first file of a large set.
const DEFINE_TIMEOUT: Duration = Duration::from_secs(60);

/// Which rows of a result travel to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// All of them.
    All,
    /// The first `head` and the last `tail`, with the count of all.
    Preview {
        /// Rows from the beginning.
        head: u64,
        /// Rows from the end.
        tail: u64,
    },
}

/// How a statement is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Run, explain, or run and explain.
    pub mode: StatementMode,
    /// Values of `$name`.
    pub values: Vec<BoundValue>,
    /// Most rows of the result; `None` for all.
    pub limit: Option<u64>,
    /// Longest run time; `None` for the session's setting.
    pub timeout: Option<Duration>,
    /// Which rows travel.
    pub rows: Rows,
    /// The statement reads no table and bypasses the queue.
    pub is_trivial: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            mode: StatementMode::Run,
            values: Vec::new(),
            limit: None,
            timeout: None,
            rows: Rows::All,
            is_trivial: false,
        }
    }
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Session {
    cluster: Cluster,
    name: SessionName,
    opened: SessionInfo,
}

impl Session {
    pub(crate) fn new(cluster: Cluster, name: SessionName, opened: SessionInfo) -> Self {
        Self {
            cluster,
            name,
            opened,
        }
    }

    /// The session's name.
    pub fn name(&self) -> &SessionName {
        &self.name
    }

    /// The cluster the session is on.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What the controller said when the session was opened.
    pub fn opened(&self) -> &SessionInfo {
        &self.opened
    }

    /// The session's views and external tables.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn catalog(&self) -> Result<Catalog, Fault> {
        let request = SessionRef {
            session: self.name.to_string(),
        };
        let catalog = self
            .cluster
            .controller()
            .get_catalog(within(request))
            .await?;
        Ok(catalog.into_inner())
    }

    /// Plans a `CREATE VIEW` or `CREATE EXTERNAL TABLE` and keeps its name, replacing what has it.
    ///
    /// # Errors
    /// The statement cannot be planned, or nobody answers.
    pub async fn define(&self, sql: &str, values: Vec<BoundValue>) -> Result<DefineReply, Fault> {
        let mut request = Request::new(DefineRequest {
            session: self.name.to_string(),
            sql: sql.to_string(),
            values,
        });
        request.set_timeout(DEFINE_TIMEOUT);
        Ok(self
            .cluster
            .controller()
            .define(request)
            .await?
            .into_inner())
    }

    /// Forgets a view or external table; says whether it was there.
    ///
    /// # Errors
    /// The name is not there and `if_exists` is false, or nobody answers.
    pub async fn drop_name(&self, name: &str, if_exists: bool) -> Result<bool, Fault> {
        let request = DropRequest {
            session: self.name.to_string(),
            name: name.to_string(),
            if_exists,
        };
        let reply = self.cluster.controller().drop(within(request)).await?;
        Ok(reply.into_inner().dropped)
    }

    /// Sets a session setting; `None` takes it back to its default.
    ///
    /// # Errors
    /// The key or the value is not accepted, or nobody answers.
    pub async fn configure(&self, key: &str, value: Option<&str>) -> Result<SessionInfo, Fault> {
        let request = ConfigureRequest {
            session: self.name.to_string(),
            key: key.to_string(),
            value: value.unwrap_or_default().to_string(),
            reset: value.is_none(),
        };
        let info = self.cluster.controller().configure(within(request)).await?;
        Ok(info.into_inner())
    }

    /// Submits one statement. Dropping the query cancels it on every engine.
    ///
    /// # Errors
    /// The queue is full, the statement cannot be planned, or nobody answers.
    pub async fn submit(&self, sql: &str, options: &RunOptions) -> Result<Query, Fault> {
        let id = QueryId::random();
        let delivery = match options.rows {
            Rows::All => Delivery { head: 0, tail: 0 },
            Rows::Preview { head, tail } => Delivery { head, tail },
        };
        let request = SubmitRequest {
            query_id: id.to_string(),
            session: self.name.to_string(),
            sql: sql.to_string(),
            mode: options.mode.into(),
            values: options.values.clone(),
            limit: options.limit.unwrap_or(0),
            timeout_ms: options.timeout.map_or(0, |t| {
                u64::try_from(t.as_millis()).unwrap_or(u64::MAX).max(1)
            }),
            delivery: Some(delivery),
            trivial: options.is_trivial,
        };
        Query::submit(self.cluster.clone(), id, request).await
    }
}
