//! Everything that can happen to the controller, in one enum.

use crate::engine_client::EngineClient;
use crate::state::engine_registry::AttachmentId;
use bireme_protocol::proto::{
    CancelQueryRequest, CancelReply, Catalog, CatalogEntry, ClusterStatus, ConfigureRequest,
    DefineReply, DefineRequest, DropReply, DropRequest, EngineCommand, ExitReport, Heartbeat,
    OpenSessionRequest, PublishRequest, QueryEnded, QueryEvent, QueryRecord, Register, SessionInfo,
    StartReply, SubmitRequest,
};
use bireme_protocol::{Fault, QueryId};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// Answers one who may have gone away meanwhile, which is no error.
pub(crate) fn answer<T>(reply: Reply<T>, result: Result<T, Fault>) {
    if reply.send(result).is_err() {
        tracing::trace!("nobody waits for an answer any more");
    }
}

/// What to follow of a query.
#[derive(Debug)]
pub(crate) enum Followed {
    /// It lives: its latest event, and those to come.
    Live(QueryId, watch::Receiver<QueryEvent>),
    /// It has ended.
    Ended(QueryEvent),
}

/// A statement to describe, with who waits for it.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) request: DefineRequest,
    pub(crate) reply: Reply<DefineReply>,
}

/// Something that happened.
pub(crate) enum Message {
    // Engines and the launcher.
    Attach {
        register: Register,
        commands: mpsc::Sender<EngineCommand>,
        reply: Reply<AttachmentId>,
    },
    Heartbeat(AttachmentId, Heartbeat),
    QueryEnded(AttachmentId, QueryEnded),
    Detached(AttachmentId),
    ExitReported(ExitReport),

    // The cluster.
    Status(Reply<ClusterStatus>),
    WaitEngines {
        engines: u32,
        limit: Duration,
        reply: Reply<ClusterStatus>,
    },
    Resize {
        engines: u32,
        limit: Duration,
        reply: Reply<()>,
    },
    Engines(Reply<Vec<(u32, EngineClient)>>),

    // Sessions.
    OpenSession(OpenSessionRequest, Reply<SessionInfo>),
    GetCatalog(String, Reply<Catalog>),
    Attend(String, Reply<()>),
    Define(Definition),
    Described(Definition, Result<CatalogEntry, Fault>),
    Drop(DropRequest, Reply<DropReply>),
    Configure(ConfigureRequest, Reply<SessionInfo>),
    Publish(PublishRequest, Reply<()>),

    // Queries.
    Submit(QueryId, SubmitRequest, Reply<QueryEvent>),
    /// Who submitted it went away before the answer.
    Abandoned(QueryId),
    Started(QueryId, Result<StartReply, Fault>),
    Follow(String, Reply<Followed>),
    /// One who followed it no longer does.
    Unfollowed(QueryId),
    Cancel(CancelQueryRequest, Reply<CancelReply>),
    Jobs(Reply<Vec<QueryRecord>>),
}
