//! What handlers want done outside the state, in the order they want it.

use crate::engine_client::EngineClient;
use crate::message::{Definition, Reply, answer};
use crate::store::Write;
use bireme_protocol::proto::{
    Catalog, DefineReply, DropReply, QueryEvent, SessionInfo, Setting, StartRequest,
};
use bireme_protocol::{Fault, QueryId};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Something to do.
pub(crate) enum Action {
    /// Make an engine the head of a query, once the database has it where that is awaited.
    Start {
        engine: EngineClient,
        id: QueryId,
        request: Box<StartRequest>,
        limit: Duration,
        written: Option<oneshot::Receiver<Result<(), Fault>>>,
    },
    /// End a query on an engine.
    CancelOn {
        engine: EngineClient,
        id: QueryId,
        fault: Fault,
    },
    /// Plan a CREATE statement.
    Describe {
        engine: EngineClient,
        definition: Definition,
        catalog: Catalog,
        settings: Vec<Setting>,
    },
    /// Write to the database.
    Save(Write),
    /// Write to the database, then answer.
    SaveThenAnswer(Write, Answer),
    /// Tell those who follow a query.
    Publish(watch::Sender<QueryEvent>, QueryEvent),
}

/// An answer that is ready and goes out once something is in the database.
#[derive(Debug)]
pub(crate) enum Answer {
    Define(Reply<DefineReply>, DefineReply),
    Drop(Reply<DropReply>, DropReply),
    Session(Reply<SessionInfo>, SessionInfo),
    Done(Reply<()>),
}

impl Answer {
    pub(crate) fn send(self, written: Result<(), Fault>) {
        match self {
            Self::Define(reply, value) => answer(reply, written.map(|()| value)),
            Self::Drop(reply, value) => answer(reply, written.map(|()| value)),
            Self::Session(reply, value) => answer(reply, written.map(|()| value)),
            Self::Done(reply) => answer(reply, written),
        }
    }
}
