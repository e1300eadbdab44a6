//! Follows a query for a client: a change of its state at once, its progress a few times a second,
//! its end exactly once. A slow client gets the latest, not a backlog.

use super::ControllerService;
use crate::message::{Followed, Message};
use bireme_protocol::proto::{QueryEvent, QueryState};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The shortest time between two events that differ in progress only.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);
/// Events under way to a client.
const EVENTS_MAX: usize = 2;

type Events = mpsc::Sender<Result<QueryEvent, Status>>;

impl ControllerService {
    pub(super) fn watch_query(
        &self,
        followed: Followed,
    ) -> ReceiverStream<Result<QueryEvent, Status>> {
        let (events, stream) = mpsc::channel(EVENTS_MAX);
        let is_over = self.is_over.clone();
        let messages = self.messages.clone();
        self.followers.spawn(async move {
            match followed {
                Followed::Ended(event) => {
                    if events.send(Ok(event)).await.is_err() {
                        tracing::trace!("nobody follows a query any more");
                    }
                }
                Followed::Live(id, source) => {
                    tokio::select! {
                        () = follow(source, &events) => {}
                        () = events.closed() => {}
                        () = is_over.cancelled() => return,
                    }
                    drop(events);
                    if messages.send(Message::Unfollowed(id)).await.is_err() {
                        tracing::trace!(query_id = %id, "the last follower left after the end");
                    }
                }
            }
        });
        ReceiverStream::new(stream)
    }
}

async fn follow(mut source: watch::Receiver<QueryEvent>, events: &Events) {
    loop {
        let event = source.borrow_and_update().clone();
        let told = step(&event);
        let is_last = is_ended(&event);
        if events.send(Ok(event)).await.is_err() || is_last {
            return;
        }
        let next = Instant::now() + PROGRESS_INTERVAL;
        if source.changed().await.is_err() {
            return;
        }
        // Progress waits for its time, a step does not. A source that is gone has its last event.
        let stepped = source.wait_for(|event| step(event) != told);
        let waited = tokio::time::timeout_at(next, stepped).await.is_err();
        tracing::trace!(waited, "query moved");
    }
}

/// What a client wants to know at once.
fn step(event: &QueryEvent) -> (i32, u32, String) {
    (event.state, event.place, event.head_address.clone())
}

fn is_ended(event: &QueryEvent) -> bool {
    matches!(
        event.state(),
        QueryState::Succeeded | QueryState::Failed | QueryState::Cancelled
    )
}
