//! Which call waits for the answers to which request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;

use crate::wire::Incoming;

/// Messages of one request that nobody has taken yet; then reading pauses.
const MESSAGES_MAX: usize = 1024;
/// A call that takes nothing for so long is given up: all others wait behind it.
const STALL_MAX: Duration = Duration::from_secs(5);

/// The channel a message came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Shell or control.
    Reply,
    /// IOPub.
    IoPub,
    /// Stdin.
    Stdin,
}

/// The calls that wait, by the message id of their request.
type Waiting = HashMap<String, mpsc::Sender<(Origin, Incoming)>>;

/// Requests in progress.
#[derive(Clone, Default)]
pub(super) struct Routes {
    waiting: Arc<Mutex<Waiting>>,
}

/// The answers to one request, until it is dropped.
pub(super) struct Route {
    routes: Routes,
    msg_id: String,
    messages: mpsc::Receiver<(Origin, Incoming)>,
}

impl Routes {
    /// Starts to listen for answers.
    pub(super) fn add(&self, msg_id: &str) -> Route {
        let (messages_tx, messages) = mpsc::channel(MESSAGES_MAX);
        self.lock().insert(msg_id.to_owned(), messages_tx);
        Route {
            routes: self.clone(),
            msg_id: msg_id.to_owned(),
            messages,
        }
    }

    /// Hands a message to the call that waits for it.
    pub(super) async fn deliver(&self, from: Origin, message: Incoming) {
        let msg_id = message.parent_header.msg_id.clone();
        let messages_tx = self.lock().get(&msg_id).cloned();
        let Some(messages_tx) = messages_tx else {
            return;
        };
        // A call may end at any time; then its messages are of no interest.
        let sent = messages_tx.send_timeout((from, message), STALL_MAX).await;
        if let Err(SendTimeoutError::Timeout(_)) = sent {
            tracing::warn!(msg_id, "a cell whose outputs nobody reads was given up");
            self.lock().remove(&msg_id);
        }
    }

    /// Ends every call: the kernel is gone.
    pub(super) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    /// The next message, or `None` once the kernel is gone.
    pub(super) async fn next(&mut self) -> Option<(Origin, Incoming)> {
        self.messages.recv().await
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.routes.lock().remove(&self.msg_id);
    }
}
