//! Follows a query that somebody else has submitted: its place in the queue, its progress and how it
//! ends. Its rows are for who asked for them. Dropping this leaves the query alone.

use crate::cluster::Cluster;
use crate::query::{QuerySummary, QueryUpdate, progress};
use bireme_protocol::proto::{QueryEvent, QueryState};
use bireme_protocol::{ErrorCode, Fault};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Streaming;

/// A controller that has ended is back within this time.
const BACK_WITHIN: Duration = Duration::from_secs(15);
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A query that is followed.
pub struct Follower {
    cluster: Cluster,
    /// Its whole id, once that is known.
    id: String,
    events: Option<Streaming<QueryEvent>>,
    /// The first event, until it has been told.
    first: Option<QueryEvent>,
    has_ended: bool,
}

impl Follower {
    pub(crate) async fn new(cluster: Cluster, query: &str) -> Result<Self, Fault> {
        let mut events = cluster.watch(query).await?;
        let first = events.message().await?;
        let first = first.ok_or_else(|| {
            let message = format!("follow query {query}: nothing is known of it");
            Fault::new(ErrorCode::NotFound, message)
        })?;
        Ok(Self {
            cluster,
            id: first.query_id.clone(),
            events: Some(events),
            first: Some(first),
            has_ended: false,
        })
    }

    /// The query's whole id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The next update; `None` after [`QueryUpdate::Done`].
    ///
    /// # Errors
    /// The query failed or was cancelled, or the controller is gone for long.
    pub async fn next(&mut self) -> Option<Result<QueryUpdate, Fault>> {
        if self.has_ended {
            return None;
        }
        let update = match self.event().await {
            Ok(event) => told(event),
            Err(fault) => Err(fault),
        };
        self.has_ended = !matches!(
            update,
            Ok(QueryUpdate::Queued { .. } | QueryUpdate::Progress { .. })
        );
        Some(update.map_err(|fault| fault.of_query(self.id.clone())))
    }

    /// The next event, also over a restart of the controller.
    async fn event(&mut self) -> Result<QueryEvent, Fault> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        let until = Instant::now() + BACK_WITHIN;
        loop {
            if let Some(events) = &mut self.events
                && let Ok(Some(event)) = events.message().await
            {
                return Ok(event);
            }
            self.events = match self.cluster.watch(&self.id).await {
                Ok(events) => Some(events),
                Err(fault) if Instant::now() > until => return Err(fault),
                Err(_) => None,
            };
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

fn told(event: QueryEvent) -> Result<QueryUpdate, Fault> {
    match event.state() {
        QueryState::Queued => Ok(QueryUpdate::Queued { place: event.place }),
        QueryState::Running => Ok(progress(event)),
        QueryState::Succeeded => {
            let progress = event.progress.unwrap_or_default();
            Ok(QueryUpdate::Done(Box::new(QuerySummary {
                rows: progress.rows_out,
                elapsed: Duration::from_millis(progress.elapsed_ms),
                progress,
                ..QuerySummary::default()
            })))
        }
        QueryState::Failed | QueryState::Cancelled => Err(Fault::from_json(&event.fault_json)),
        QueryState::Unspecified => Err(Fault::internal("follow a query: it has no state")),
    }
}
