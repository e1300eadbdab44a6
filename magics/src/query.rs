//! The seam between magics and the cluster: what a session can be asked. The client's session is
//! the real one; tests have a script.

use async_trait::async_trait;
use bireme_client::{QueryUpdate, RunOptions};
use bireme_protocol::{Fault, proto};

/// A session on a cluster.
#[async_trait]
pub trait QueryService: Send + Sync {
    /// The session's name.
    fn session(&self) -> String;

    /// Starts a query. Dropping what it gives cancels the work behind it.
    async fn submit(&self, sql: &str, options: &RunOptions)
    -> Result<Box<dyn RunningQuery>, Fault>;

    /// Defines the view or table of a CREATE statement; replaces what has its name.
    async fn define(
        &self,
        sql: &str,
        values: Vec<proto::BoundValue>,
    ) -> Result<proto::DefineReply, Fault>;

    /// Forgets a name; says whether there was one.
    async fn drop_name(&self, name: &str, if_exists: bool) -> Result<bool, Fault>;

    /// Lets other sessions see a frame, or no more.
    async fn publish(&self, name: &str, withdraw: bool) -> Result<(), Fault>;

    /// Has the engines that hold a frame write its rows to these files in memory. Tells what lies
    /// where, in the order of the partitions. Dropping it ends the work behind it.
    async fn gather(
        &self,
        entry: &proto::CatalogEntry,
        files: &[String],
    ) -> Result<Vec<proto::SharedBatch>, Fault>;

    /// What each engine holds.
    async fn memory(&self) -> Result<Vec<proto::EngineMemory>, Fault>;

    /// The session's names.
    async fn catalog(&self) -> Result<proto::Catalog, Fault>;

    /// The cluster: controller, engines, queries.
    async fn status(&self) -> Result<proto::ClusterStatus, Fault>;

    /// Queries that run or wait, of all sessions.
    async fn jobs(&self) -> Result<Vec<proto::QueryRecord>, Fault>;

    /// Past queries, newest first, of this session or of all.
    async fn history(&self, of_all: bool, limit: u32) -> Result<Vec<proto::QueryRecord>, Fault>;

    /// Follows a query that runs or waits, of any session, by its id or a unique beginning of it.
    /// Dropping what it gives leaves the query alone.
    async fn follow(&self, id: &str) -> Result<Box<dyn RunningQuery>, Fault>;

    /// Cancels a query by its id or a unique beginning of it.
    async fn cancel(&self, id: &str, reason: &str) -> Result<proto::CancelReply, Fault>;

    /// What the engines recorded of a query; of all queries when `id` is empty.
    async fn spans(&self, id: &str) -> Result<Vec<proto::EngineSpans>, Fault>;
}

/// A query that was accepted.
#[async_trait]
pub trait RunningQuery: Send {
    /// The query's whole id.
    fn id(&self) -> String;

    /// What happens next; `None` after the end. Not to be dropped half-way and called again.
    async fn next(&mut self) -> Option<Result<QueryUpdate, Fault>>;
}
