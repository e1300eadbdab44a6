//! gRPC in: checks, decodes, sends the loop a message and awaits its answer, for a bounded time.

mod attach;
mod watch;

use crate::message::{Definition, Followed, Message, Reply};
use crate::store::Store;
use bireme_protocol::proto::controller_server::Controller;
use bireme_protocol::proto::{
    CancelQueryRequest, CancelReply, Catalog, ClusterStatus, ConfigureRequest, DefineReply,
    DefineRequest, DropReply, DropRequest, Empty, EngineCommand, EngineReport, EngineSpans,
    ExitReport, Hello, HelloReply, HistoryRequest, MemoryReply, OpenSessionRequest, PublishRequest,
    QueryEvent, QueryList, QueryRef, ResizeRequest, SessionInfo, SessionRef, SpansReply,
    SpansRequest, SubmitRequest, WaitEnginesRequest,
};
use bireme_protocol::{ErrorCode, Fault, QueryId, build_id};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

/// Longest wait for an answer the loop gives from what it knows.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for an answer an engine has to plan for.
const PLAN_DEADLINE: Duration = Duration::from_secs(120);
/// Longest wait a caller may ask for.
const WAIT_MAX: Duration = Duration::from_secs(600);

type Answered<T> = Result<Response<T>, Status>;

/// The service's side of the loop.
pub(crate) struct ControllerService {
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) store: Store,
    /// Tasks that serve streams.
    pub(crate) followers: TaskTracker,
    pub(crate) is_over: CancellationToken,
    pub(crate) cluster_id: String,
}

impl ControllerService {
    async fn ask<T>(
        &self,
        limit: Duration,
        message: impl FnOnce(Reply<T>) -> Message,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let sent = self.messages.send(message(reply)).await;
            sent.map_err(|_| ending())?;
            answer.await.map_err(|_| ending())?
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(Fault::new(
                ErrorCode::Unavailable,
                format!("ask the controller: no answer in {limit:?}"),
            )),
        }
    }

    /// A query that is at hand, or what the database says of it.
    async fn find(&self, query: &str) -> Result<Followed, Fault> {
        let beginning = query.to_string();
        let follow = |reply| Message::Follow(beginning, reply);
        let fault = match self.ask(ANSWER_DEADLINE, follow).await {
            Ok(followed) => return Ok(followed),
            Err(fault) => fault,
        };
        let plain = query.trim().replace('-', "").to_lowercase();
        if fault.code != ErrorCode::NotFound || plain.is_empty() {
            return Err(fault);
        }
        let records = self.store.find(plain).await?;
        match records.as_slice() {
            [record] => Ok(Followed::Ended(QueryEvent {
                query_id: record.query_id.clone(),
                state: record.state,
                progress: record.progress,
                fault_json: record.fault_json.clone(),
                ..QueryEvent::default()
            })),
            [] => Err(fault),
            _ => Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("find query {query:?}: more than one past query begins so"),
            )
            .with_hint("give more of the id")),
        }
    }
}

fn ending() -> Fault {
    Fault::new(ErrorCode::Unavailable, "ask the controller: it ends")
}

fn answered<T>(result: Result<T, Fault>) -> Answered<T> {
    result.map(Response::new).map_err(Status::from)
}

fn limit_of(millis: u64) -> Duration {
    Duration::from_millis(millis).min(WAIT_MAX)
}

/// Tells the loop when the caller of `Submit` goes away before the answer.
struct Abandon {
    id: QueryId,
    messages: Option<mpsc::Sender<Message>>,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        let Some(messages) = self.messages.take() else {
            return;
        };
        if messages.try_send(Message::Abandoned(self.id)).is_err() {
            tracing::warn!(query_id = %self.id, "the loop is too busy to cancel a query nobody waits for");
        }
    }
}

#[tonic::async_trait]
impl Controller for ControllerService {
    type AttachStream = ReceiverStream<Result<EngineCommand, Status>>;
    type WatchStream = ReceiverStream<Result<QueryEvent, Status>>;

    async fn hello(&self, request: Request<Hello>) -> Answered<HelloReply> {
        let hello = request.into_inner();
        build_id::check(&hello.role, &hello.build_id)?;
        answered(Ok(HelloReply {
            build_id: build_id().to_string(),
            cluster_id: self.cluster_id.clone(),
            pid: std::process::id(),
        }))
    }

    async fn attach(
        &self,
        request: Request<Streaming<EngineReport>>,
    ) -> Answered<Self::AttachStream> {
        answered(self.attach_engine(request.into_inner()).await)
    }

    async fn report_exit(&self, request: Request<ExitReport>) -> Answered<Empty> {
        let report = Message::ExitReported(request.into_inner());
        let sent = self.messages.send(report).await;
        answered(sent.map(|()| Empty {}).map_err(|_| ending()))
    }

    async fn status(&self, _: Request<Empty>) -> Answered<ClusterStatus> {
        answered(self.ask(ANSWER_DEADLINE, Message::Status).await)
    }

    async fn wait_engines(&self, request: Request<WaitEnginesRequest>) -> Answered<ClusterStatus> {
        let request = request.into_inner();
        let limit = limit_of(request.timeout_ms);
        let wait = |reply| Message::WaitEngines {
            engines: request.engines,
            limit,
            reply,
        };
        answered(self.ask(limit + ANSWER_DEADLINE, wait).await)
    }

    async fn resize(&self, request: Request<ResizeRequest>) -> Answered<Empty> {
        let request = request.into_inner();
        let limit = limit_of(request.timeout_ms);
        let resize = |reply| Message::Resize {
            engines: request.engines,
            limit,
            reply,
        };
        let resized = self.ask(limit + ANSWER_DEADLINE, resize).await;
        answered(resized.map(|()| Empty {}))
    }

    async fn open_session(&self, request: Request<OpenSessionRequest>) -> Answered<SessionInfo> {
        let open = |reply| Message::OpenSession(request.into_inner(), reply);
        answered(self.ask(ANSWER_DEADLINE, open).await)
    }

    async fn get_catalog(&self, request: Request<SessionRef>) -> Answered<Catalog> {
        let get = |reply| Message::GetCatalog(request.into_inner().session, reply);
        answered(self.ask(ANSWER_DEADLINE, get).await)
    }

    async fn attend(&self, request: Request<SessionRef>) -> Answered<Empty> {
        let attend = |reply| Message::Attend(request.into_inner().session, reply);
        let attended = self.ask(ANSWER_DEADLINE, attend).await;
        answered(attended.map(|()| Empty {}))
    }

    async fn define(&self, request: Request<DefineRequest>) -> Answered<DefineReply> {
        let request = request.into_inner();
        let define = |reply| Message::Define(Definition { request, reply });
        answered(self.ask(PLAN_DEADLINE, define).await)
    }

    async fn drop(&self, request: Request<DropRequest>) -> Answered<DropReply> {
        let drop = |reply| Message::Drop(request.into_inner(), reply);
        answered(self.ask(ANSWER_DEADLINE, drop).await)
    }

    async fn configure(&self, request: Request<ConfigureRequest>) -> Answered<SessionInfo> {
        let configure = |reply| Message::Configure(request.into_inner(), reply);
        answered(self.ask(ANSWER_DEADLINE, configure).await)
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Answered<Empty> {
        let publish = |reply| Message::Publish(request.into_inner(), reply);
        let published = self.ask(ANSWER_DEADLINE, publish).await;
        answered(published.map(|()| Empty {}))
    }

    async fn memory(&self, _: Request<Empty>) -> Answered<MemoryReply> {
        let engines = self.ask(ANSWER_DEADLINE, Message::Engines).await?;
        let mut reads = JoinSet::new();
        for (rank, engine) in engines {
            reads.spawn(async move { (rank, engine.memory().await) });
        }
        let mut engines = Vec::new();
        while let Some(read) = reads.join_next().await {
            match read {
                Ok((_, Ok(memory))) => engines.push(memory),
                Ok((rank, Err(fault))) => {
                    tracing::warn!(rank, %fault, "engine tells not what it holds")
                }
                Err(error) => tracing::error!(%error, "asking an engine failed"),
            }
        }
        engines.sort_by_key(|engine| engine.rank);
        answered(Ok(MemoryReply { engines }))
    }

    async fn submit(&self, request: Request<SubmitRequest>) -> Answered<QueryEvent> {
        let request = request.into_inner();
        let id = match request.query_id.as_str() {
            "" => QueryId::random(),
            text => text.parse::<QueryId>().map_err(|error| {
                let message = format!("submit a query: {text:?} is no query id: {error}");
                Fault::new(ErrorCode::InvalidArgument, message)
            })?,
        };
        let mut abandon = Abandon {
            id,
            messages: Some(self.messages.clone()),
        };
        let submit = |reply| Message::Submit(id, request, reply);
        let event = self.ask(PLAN_DEADLINE, submit).await;
        let is_late = matches!(&event, Err(fault) if fault.code == ErrorCode::Unavailable);
        if !is_late {
            abandon.messages = None;
        }
        answered(event)
    }

    async fn watch(&self, request: Request<QueryRef>) -> Answered<Self::WatchStream> {
        let followed = self.find(&request.into_inner().query_id).await;
        answered(followed.map(|followed| self.watch_query(followed)))
    }

    async fn cancel(&self, request: Request<CancelQueryRequest>) -> Answered<CancelReply> {
        let cancel = |reply| Message::Cancel(request.into_inner(), reply);
        answered(self.ask(ANSWER_DEADLINE, cancel).await)
    }

    async fn jobs(&self, _: Request<Empty>) -> Answered<QueryList> {
        let queries = self.ask(ANSWER_DEADLINE, Message::Jobs).await;
        answered(queries.map(|queries| QueryList { queries }))
    }

    async fn history(&self, request: Request<HistoryRequest>) -> Answered<QueryList> {
        let read = self.store.history(request.into_inner());
        let queries = match tokio::time::timeout(ANSWER_DEADLINE, read).await {
            Ok(queries) => queries,
            Err(_) => Err(Fault::new(
                ErrorCode::Unavailable,
                format!("read the history: no answer in {ANSWER_DEADLINE:?}"),
            )),
        };
        answered(queries.map(|queries| QueryList { queries }))
    }

    async fn spans(&self, request: Request<SpansRequest>) -> Answered<SpansReply> {
        let query = request.into_inner().query_id;
        let query_id = match self.find(&query).await? {
            Followed::Live(id, _) => id.to_string(),
            Followed::Ended(event) => event.query_id,
        };
        let engines = self.ask(ANSWER_DEADLINE, Message::Engines).await?;
        let mut reads = JoinSet::new();
        for (rank, engine) in engines {
            let query_id = query_id.clone();
            reads.spawn(async move { (rank, engine.spans(query_id).await) });
        }
        let mut engines = Vec::new();
        while let Some(read) = reads.join_next().await {
            match read {
                Ok((rank, Ok(spans))) => engines.push(EngineSpans { rank, spans }),
                Ok((rank, Err(fault))) => tracing::warn!(rank, %fault, "engine gives no spans"),
                Err(error) => tracing::error!(%error, "reading spans failed"),
            }
        }
        engines.sort_by_key(|engine| engine.rank);
        answered(Ok(SpansReply { engines }))
    }
}
