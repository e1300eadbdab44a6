//! One notebook's names on the cluster, from the client's side.

use crate::cluster::{Cluster, within};
use crate::query::Query;
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::{
    BoundValue, Catalog, ConfigureRequest, DefineReply, DefineRequest, Delivery, DropRequest,
    PersistOptions, PublishRequest, SessionInfo, SessionRef, StatementMode, SubmitRequest,
};
use bireme_protocol::{ErrorCode, Fault, QueryId, SessionName};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Planning a definition may read the first file of a large set.
const DEFINE_TIMEOUT: Duration = Duration::from_secs(60);
/// Thirty years: no limit, and still a moment that clocks can tell.
const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

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
    /// Most rows of the result, at least 1; `None` for all.
    pub limit: Option<u64>,
    /// Longest run time; zero for no limit, `None` for the session's setting.
    pub timeout: Option<Duration>,
    /// Which rows travel.
    pub rows: Rows,
    /// The statement reads no table and bypasses the queue.
    pub is_trivial: bool,
    /// How a statement that makes a frame lays out its rows; `None` for round-robin.
    pub persist: Option<PersistOptions>,
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
            persist: None,
        }
    }
}

/// An open session. One that the controller has forgotten is opened again when it is used.
#[derive(Clone, Debug)]
pub struct Session {
    cluster: Cluster,
    name: SessionName,
    /// What opened it: "kernel", "run", "sql".
    client: String,
    opened: SessionInfo,
}

impl Session {
    pub(crate) fn new(
        cluster: Cluster,
        name: SessionName,
        client: String,
        opened: SessionInfo,
    ) -> Self {
        Self {
            cluster,
            name,
            client,
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
        self.ask(|mut controller| {
            let request = request.clone();
            async move { controller.get_catalog(within(request)).await }
        })
        .await
    }

    /// Plans a `CREATE VIEW` or `CREATE EXTERNAL TABLE` and keeps its name, replacing what has it.
    ///
    /// # Errors
    /// The statement cannot be planned, or nobody answers.
    pub async fn define(&self, sql: &str, values: Vec<BoundValue>) -> Result<DefineReply, Fault> {
        let request = DefineRequest {
            session: self.name.to_string(),
            sql: sql.to_string(),
            values,
        };
        self.ask(|mut controller| {
            let mut request = Request::new(request.clone());
            request.set_timeout(DEFINE_TIMEOUT);
            async move { controller.define(request).await }
        })
        .await
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
        let dropped = self.ask(|mut controller| {
            let request = request.clone();
            async move { controller.drop(within(request)).await }
        });
        Ok(dropped.await?.dropped)
    }

    /// Lets other sessions see a frame of this one, or no more.
    ///
    /// # Errors
    /// There is no such frame, another session has published one of this name, or nobody answers.
    pub async fn publish(&self, name: &str, withdraw: bool) -> Result<(), Fault> {
        let request = PublishRequest {
            session: self.name.to_string(),
            name: name.to_string(),
            withdraw,
        };
        let published = self.ask(|mut controller| {
            let request = request.clone();
            async move { controller.publish(within(request)).await }
        });
        published.await.map(drop)
    }

    /// Says that somebody is there who works with the session: its frames are kept.
    ///
    /// # Errors
    /// The controller does not know the session, or does not answer.
    pub async fn attend(&self) -> Result<(), Fault> {
        let session = self.name.to_string();
        let mut controller = self.cluster.controller();
        controller.attend(within(SessionRef { session })).await?;
        Ok(())
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
        self.ask(|mut controller| {
            let request = request.clone();
            async move { controller.configure(within(request)).await }
        })
        .await
    }

    /// Submits one statement. Dropping the query cancels it on every engine.
    ///
    /// # Errors
    /// The limit is 0, the queue is full, the statement cannot be planned, or nobody answers.
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
            limit: sent_limit(options.limit)?,
            timeout_ms: sent_timeout(options.timeout),
            delivery: Some(delivery),
            trivial: options.is_trivial,
            persist: options.persist.clone(),
        };
        match Query::submit(self.cluster.clone(), id, request.clone()).await {
            Err(fault) if fault.code == ErrorCode::NotFound => {
                if self.is_opened_again(&fault).await {
                    return Query::submit(self.cluster.clone(), id, request).await;
                }
                Err(fault)
            }
            submitted => submitted,
        }
    }

    /// Asks the controller, once more if it had forgotten the session.
    async fn ask<T, A>(&self, request: impl Fn(ControllerClient<Channel>) -> A) -> Result<T, Fault>
    where
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let fault = match request(self.cluster.controller()).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => Fault::from(status),
        };
        if self.is_opened_again(&fault).await {
            return Ok(request(self.cluster.controller()).await?.into_inner());
        }
        Err(fault)
    }

    /// Opens the session again if it is what was not found: a session without names makes room for
    /// others. False when it was there all the time.
    async fn is_opened_again(&self, fault: &Fault) -> bool {
        if fault.code != ErrorCode::NotFound {
            return false;
        }
        let opened = self.cluster.session(&self.name, &self.client).await;
        opened.is_ok_and(|session| session.opened.created)
    }
}

/// A limit as it travels, where 0 stands for none.
fn sent_limit(limit: Option<u64>) -> Result<u64, Fault> {
    match limit {
        Some(0) => Err(Fault::new(
            ErrorCode::InvalidArgument,
            "run a statement with a limit of 0 rows: a limit is at least 1",
        )
        .with_hint("leave the limit out, or write LIMIT 0 in the statement")),
        limit => Ok(limit.unwrap_or(0)),
    }
}

/// A timeout in milliseconds as it travels, where 0 stands for the session's setting.
fn sent_timeout(timeout: Option<Duration>) -> u64 {
    let Some(timeout) = timeout else {
        return 0;
    };
    let timeout = match timeout.is_zero() {
        true => TIMEOUT_MAX,
        false => timeout.min(TIMEOUT_MAX),
    };
    u64::try_from(timeout.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_no_rows_is_not_sent_as_no_limit() {
        assert_eq!(sent_limit(None), Ok(0));
        assert_eq!(sent_limit(Some(1)), Ok(1));
        let fault = sent_limit(Some(0)).unwrap_err();
        assert_eq!(fault.code, ErrorCode::InvalidArgument);
        assert!(fault.message.contains("a limit of 0 rows"), "{fault}");
    }

    #[test]
    fn a_timeout_of_zero_is_none_and_not_the_sessions() {
        assert_eq!(sent_timeout(None), 0);
        assert_eq!(sent_timeout(Some(Duration::from_millis(250))), 250);
        assert_eq!(sent_timeout(Some(Duration::from_nanos(1))), 1);
        let years = u64::try_from(TIMEOUT_MAX.as_millis()).unwrap();
        assert_eq!(sent_timeout(Some(Duration::ZERO)), years);
        assert_eq!(sent_timeout(Some(Duration::MAX)), years);
    }
}
