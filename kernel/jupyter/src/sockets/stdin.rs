//! The stdin channel: one question at a time, to the client that sent the cell.
//!
//! An answer counts only if it comes from that client, while its question stands; what comes
//! otherwise is a stale answer and is dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::router::{Inbox, Router};
use crate::session::Session;
use crate::wire::{Incoming, InputReply, InputRequest, Parent};

/// Why there is no line from the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The client said that it cannot ask.
    #[error("this front end does not support input requests (allow_stdin is false)")]
    NotAllowed,
    /// The cell was interrupted while it waited.
    #[error("the cell was interrupted while it waited for input")]
    Interrupted,
    /// The kernel ends.
    #[error("the input channel is closed")]
    Closed,
}

/// The stdin socket of a kernel.
#[derive(Clone)]
pub(crate) struct Stdin {
    shared: Arc<Shared>,
}

struct Shared {
    router: Router,
    session: Arc<Session>,
    /// Held by the cell whose question stands.
    turn: tokio::sync::Mutex<()>,
    question: Mutex<Option<Question>>,
}

struct Question {
    client: Bytes,
    msg_id: String,
    answer_tx: oneshot::Sender<String>,
}

impl Stdin {
    pub(crate) fn new(router: Router, session: Arc<Session>) -> Self {
        let turn = tokio::sync::Mutex::new(());
        let shared = Shared {
            router,
            session,
            turn,
            question: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The channel to the client that sent a cell, named by the cell's routing frames.
    pub(crate) fn channel_to(&self, identities: Vec<Bytes>) -> StdinChannel {
        StdinChannel {
            stdin: self.clone(),
            identities,
        }
    }

    /// Hands answers to the questions they belong to; runs as long as the kernel.
    pub(crate) async fn run(self, mut inbox: Inbox) {
        while let Some(letter) = inbox.recv().await {
            match Incoming::from_frames(letter.frames, self.shared.session.signer()) {
                Ok(message) => self.receive(&message),
                Err(error) => tracing::warn!(%error, "a message on stdin was dropped"),
            }
        }
    }

    fn receive(&self, message: &Incoming) {
        if message.msg_type() != "input_reply" {
            tracing::warn!(
                msg_type = message.msg_type(),
                "not an answer, dropped from stdin"
            );
            return;
        }
        let mut question = self.lock_question();
        let answered = question.take_if(|question| {
            let parent = &message.parent_header.msg_id;
            // Most clients leave the parent out, and clients differ in whether they name our
            // question or their cell; only another question's answer is recognisably stale.
            let is_stale =
                parent.starts_with(self.shared.session.id()) && *parent != question.msg_id;
            message.identities.first() == Some(&question.client) && !is_stale
        });
        let Some(question) = answered else {
            tracing::info!("a stale answer was dropped from stdin");
            return;
        };
        let reply: InputReply = message.content_as().unwrap_or_default();
        if question.answer_tx.send(reply.value).is_err() {
            tracing::info!("the cell that asked is gone");
        }
    }

    fn lock_question(&self) -> MutexGuard<'_, Option<Question>> {
        self.shared
            .question
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The way back to the client that sent one cell.
#[derive(Clone)]
pub(crate) struct StdinChannel {
    stdin: Stdin,
    identities: Vec<Bytes>,
}

impl StdinChannel {
    /// Asks for a line and waits for it, or for the interrupt.
    pub(crate) async fn ask(
        &self,
        parent: &Parent,
        prompt: &str,
        password: bool,
        cancellation: &CancellationToken,
    ) -> Result<String, InputError> {
        let asking = self.ask_in_turn(parent, prompt, password);
        match cancellation.run_until_cancelled(asking).await {
            Some(answer) => answer,
            None => Err(InputError::Interrupted),
        }
    }

    async fn ask_in_turn(
        &self,
        parent: &Parent,
        prompt: &str,
        password: bool,
    ) -> Result<String, InputError> {
        let shared = &self.stdin.shared;
        let _turn = shared.turn.lock().await;
        let (answer_tx, answer_rx) = oneshot::channel();
        let content = InputRequest {
            prompt: prompt.to_owned(),
            password,
        };
        let frames = shared
            .session
            .message(&self.identities, "input_request", parent, content);
        let msg_id = self.own_msg_id(&frames);
        let client = self.identities.first().cloned().unwrap_or_default();
        let _standing = Standing { stdin: &self.stdin };
        *self.stdin.lock_question() = Some(Question {
            client,
            msg_id,
            answer_tx,
        });
        shared.router.send(frames);
        answer_rx.await.map_err(|_| InputError::Closed)
    }

    /// The id that a message of ours was given.
    fn own_msg_id(&self, frames: &[Bytes]) -> String {
        frames
            .get(self.identities.len() + 2)
            .and_then(|header| serde_json::from_slice::<crate::wire::Header>(header).ok())
            .map(|header| header.msg_id)
            .unwrap_or_default()
    }
}

/// Withdraws the question when the cell stops waiting, for whatever reason.
struct Standing<'a> {
    stdin: &'a Stdin,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.stdin.lock_question().take();
    }
}
