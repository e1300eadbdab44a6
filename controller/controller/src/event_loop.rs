//! The single owner of the state. It takes one message at a time, lets a handler change the state,
//! and performs the actions that come back; whatever takes time runs as a task and sends a message.

use crate::action::Action;
use crate::clock::Clock;
use crate::controller::Ended;
use crate::message::Message;
use crate::state::State;
use crate::store::Store;
use bireme_protocol::proto::DescribeRequest;
use bireme_protocol::{ErrorCode, Fault};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Messages that wait for the loop.
pub(crate) const MESSAGES_MAX: usize = 1024;
/// The shortest time between two looks at deadlines.
const TICK_MIN: Duration = Duration::from_millis(5);

/// The loop with all it needs.
pub(crate) struct EventLoop {
    pub(crate) state: State,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) messages: mpsc::Receiver<Message>,
    /// For tasks, which send what they found.
    pub(crate) sender: mpsc::Sender<Message>,
    pub(crate) tasks: JoinSet<()>,
}

impl EventLoop {
    /// Runs until the cluster was idle for long enough.
    pub(crate) async fn run(&mut self) -> Ended {
        let mut earliest = tokio::time::Instant::now();
        loop {
            let now = self.clock.now();
            if self.state.is_idle(now) {
                tracing::info!("cluster was idle for long enough: it ends");
                return Ended::Idle;
            }
            let deadline = self.state.deadline(now);
            let clock = self.clock.clone();
            let due = async {
                match deadline {
                    Some(deadline) => clock.sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
                tokio::time::sleep_until(earliest).await;
            };
            let actions = tokio::select! {
                Some(message) = self.messages.recv() => {
                    self.state.handle(message, self.clock.now())
                }
                () = due => {
                    earliest = tokio::time::Instant::now() + TICK_MIN;
                    self.state.tick(self.clock.now())
                }
                Some(joined) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = joined {
                        tracing::error!(%error, "a task of the controller failed");
                    }
                    continue;
                }
            };
            self.perform(actions);
        }
    }

    pub(crate) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.perform_one(action);
        }
    }

    fn perform_one(&mut self, action: Action) {
        let sender = self.sender.clone();
        match action {
            Action::Save(write) => self.store.write(write, None),
            Action::SaveThenAnswer(write, answer) => self.store.write(write, Some(answer)),
            Action::Publish(events, event) => {
                events.send_replace(event);
            }
            Action::Start {
                engine,
                id,
                request,
                limit,
                written,
            } => {
                self.tasks.spawn(async move {
                    if let Err(error) = written_down(written).await {
                        tracing::warn!(query_id = %id, %error, "a query runs that is not written down");
                    }
                    let started = engine.start(*request, limit).await;
                    tell(&sender, Message::Started(id, started)).await;
                });
            }
            Action::CancelOn { engine, id, fault } => {
                self.tasks.spawn(async move {
                    if let Err(error) = engine.cancel(id, &fault).await {
                        tracing::warn!(query_id = %id, %error, "query is not cancelled on an engine");
                    }
                });
            }
            Action::Describe {
                engine,
                definition,
                catalog,
                settings,
            } => {
                let request = DescribeRequest {
                    catalog: Some(catalog),
                    sql: definition.request.sql.clone(),
                    values: definition.request.values.clone(),
                    settings,
                };
                self.tasks.spawn(async move {
                    let entry = engine.describe(request).await;
                    tell(&sender, Message::Described(definition, entry)).await;
                });
            }
        }
    }
}

/// Waits until the database has what it was given.
async fn written_down(written: Option<oneshot::Receiver<Result<(), Fault>>>) -> Result<(), Fault> {
    let Some(written) = written else {
        return Ok(());
    };
    let gone = || Fault::new(ErrorCode::Unavailable, "the database has gone");
    written.await.unwrap_or_else(|_| Err(gone()))
}

/// Sends a message; without a loop there is nobody left to tell.
async fn tell(sender: &mpsc::Sender<Message>, message: Message) {
    if sender.send(message).await.is_err() {
        tracing::debug!("a message came after the end");
    }
}
