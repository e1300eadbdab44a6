//! A connection to a cluster's controller. It reconnects by itself when the controller returns.

use crate::follower::Follower;
use crate::session::Session;
use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::{
    CancelQueryRequest, CancelReply, ClusterStatus, Empty, HistoryRequest, MemoryReply,
    OpenSessionRequest, QueryEvent, QueryRecord, QueryRef, SpansReply, SpansRequest,
};
use bireme_protocol::{Address, ErrorCode, Fault, SessionName, address, build_id};
use bireme_settings::Home;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

/// Longest wait for an answer that needs no query to run.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster as a client sees it. Clones share one connection.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) controller: ControllerClient<Channel>,
    /// Cancels sent on behalf of dropped queries.
    pub(crate) farewells: TaskTracker,
    home: Arc<Home>,
}

impl Cluster {
    /// Connects to the cluster of a home, if one answers there.
    ///
    /// # Errors
    /// [`ErrorCode::BuildMismatch`] when it runs another build; [`ErrorCode::Unavailable`] when none
    /// answers.
    pub async fn attach(home: &Home) -> Result<Self, Fault> {
        let address = Address::unix(home.controller_socket());
        // One eager connection tells at once whether anybody is there.
        drop(address.connect().await?);
        let controller = ControllerClient::new(address.connect_lazily())
            .max_decoding_message_size(address::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(address::MESSAGE_BYTES_MAX);
        let cluster = Self {
            controller,
            farewells: TaskTracker::new(),
            home: Arc::new(home.clone()),
        };
        let hello = build_id::hello("client");
        let answer = cluster
            .controller()
            .hello(within(hello))
            .await?
            .into_inner();
        build_id::check("controller", &answer.build_id)?;
        Ok(cluster)
    }

    /// The directory this cluster lives in.
    pub fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn controller(&self) -> ControllerClient<Channel> {
        self.controller.clone()
    }

    /// Opens a session by its name, or comes back to it.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn session(&self, name: &SessionName, client: &str) -> Result<Session, Fault> {
        let request = OpenSessionRequest {
            session: name.to_string(),
            client: client.to_string(),
            pid: std::process::id(),
            build_id: bireme_protocol::build_id().to_string(),
        };
        let info = self.controller().open_session(within(request)).await?;
        let client = client.to_string();
        Ok(Session::new(
            self.clone(),
            name.clone(),
            client,
            info.into_inner(),
        ))
    }

    /// Who is there and what runs.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn status(&self) -> Result<ClusterStatus, Fault> {
        Ok(self
            .controller()
            .status(within(Empty {}))
            .await?
            .into_inner())
    }

    /// Running and queued queries of all sessions.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn jobs(&self) -> Result<Vec<QueryRecord>, Fault> {
        let list = self.controller().jobs(within(Empty {})).await?;
        Ok(list.into_inner().queries)
    }

    /// The latest queries, newest first; of all sessions when `session` is `None`.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn history(
        &self,
        session: Option<&SessionName>,
        limit: u32,
    ) -> Result<Vec<QueryRecord>, Fault> {
        let request = HistoryRequest {
            session: session.map(ToString::to_string).unwrap_or_default(),
            limit,
        };
        let list = self.controller().history(within(request)).await?;
        Ok(list.into_inner().queries)
    }

    /// The events of a query, from its latest on.
    pub(crate) async fn watch(&self, query: &str) -> Result<Streaming<QueryEvent>, Fault> {
        let query_id = query.to_string();
        let mut controller = self.controller();
        let events = controller.watch(QueryRef { query_id });
        match tokio::time::timeout(ANSWER_TIMEOUT, events).await {
            Ok(Ok(events)) => Ok(events.into_inner()),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(Fault::new(
                ErrorCode::Unavailable,
                format!("watch a query: no answer in {ANSWER_TIMEOUT:?}"),
            )),
        }
    }

    /// Follows a query that somebody else has submitted, named by its id or a unique beginning of
    /// it.
    ///
    /// # Errors
    /// No such query, more than one, or no answer from the controller.
    pub async fn follow(&self, query: &str) -> Result<Follower, Fault> {
        Follower::new(self.clone(), query).await
    }

    /// Ends a query named by its id or a unique beginning of it.
    ///
    /// # Errors
    /// No such query, more than one, or no answer from the controller.
    pub async fn cancel(&self, query: &str, reason: &str) -> Result<CancelReply, Fault> {
        let request = CancelQueryRequest {
            query_id: query.to_string(),
            reason: reason.to_string(),
        };
        Ok(self
            .controller()
            .cancel(within(request))
            .await?
            .into_inner())
    }

    /// What the engines did for a query, for the timeline; for all queries when empty.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn spans(&self, query: &str) -> Result<SpansReply, Fault> {
        let request = SpansRequest {
            query_id: query.to_string(),
        };
        Ok(self.controller().spans(within(request)).await?.into_inner())
    }

    /// What each engine holds.
    ///
    /// # Errors
    /// No answer from the controller.
    pub async fn memory(&self) -> Result<MemoryReply, Fault> {
        Ok(self
            .controller()
            .memory(within(Empty {}))
            .await?
            .into_inner())
    }

    /// The last thing the controller knows of a query, once it has ended.
    pub(crate) async fn outcome(&self, query: &str, wait: Duration) -> Option<QueryEvent> {
        let request = QueryRef {
            query_id: query.to_string(),
        };
        let follow = async {
            let mut events = self.controller().watch(request).await.ok()?.into_inner();
            let mut last = None;
            while let Ok(Some(event)) = events.message().await {
                last = Some(event);
            }
            last
        };
        tokio::time::timeout(wait, follow).await.ok().flatten()
    }

    /// Waits until the cancels of dropped queries have been sent, for a bounded time.
    pub async fn settle(&self) {
        self.farewells.close();
        let settled = tokio::time::timeout(Duration::from_secs(1), self.farewells.wait()).await;
        if settled.is_err() {
            tracing::warn!("some cancels of dropped queries were not answered within a second");
        }
        self.farewells.reopen();
    }
}

/// A request that must be answered within [`ANSWER_TIMEOUT`].
pub(crate) fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

/// Says that no cluster is there, and what starts one.
pub(crate) fn unavailable(tried: &str, fault: &Fault) -> Fault {
    Fault::new(ErrorCode::Unavailable, format!("{tried}: {fault}"))
        .with_hint("`bireme cluster start` starts a cluster, `bireme cluster status` shows it")
}
