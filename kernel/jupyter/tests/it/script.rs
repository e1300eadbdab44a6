//! A scripted client: each step names the one message that must come next.

use std::time::Duration;

use bireme_jupyter::wire::{ExecuteRequest, Incoming, Parent};
use bireme_jupyter::{Channel, ConnectionFile, RawClient};
use serde_json::{Value, json};

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A client whose conversation is asserted message by message.
pub(crate) struct Script {
    pub(crate) raw: RawClient,
}

impl Script {
    /// Connects and is welcomed.
    pub(crate) async fn connect(connection: &ConnectionFile) -> Self {
        let mut raw = RawClient::connect(connection, DEADLINE).await.unwrap();
        let welcome = raw.receive(Channel::IoPub).await.unwrap();
        assert_eq!(welcome.msg_type(), "iopub_welcome");
        assert_eq!(welcome.content, json!({"subscription": ""}));
        assert_eq!(welcome.parent_header.msg_id, "");
        Self { raw }
    }

    /// Reads the announcement of the start, which only the first client gets.
    pub(crate) async fn started(mut self) -> Self {
        let starting = self.raw.receive(Channel::IoPub).await.unwrap();
        assert_eq!(starting.content, json!({"execution_state": "starting"}));
        self
    }

    /// Sends a cell.
    pub(crate) async fn execute(&self, code: &str) -> String {
        self.send(Channel::Shell, "execute_request", ExecuteRequest::new(code))
            .await
    }

    /// Sends any request.
    pub(crate) async fn send(
        &self,
        channel: Channel,
        msg_type: &str,
        content: impl serde::Serialize,
    ) -> String {
        self.raw
            .send(channel, msg_type, &Parent::none(), content)
            .await
            .unwrap()
    }

    /// Makes a subshell: the request for it, and its id.
    pub(crate) async fn subshell(&mut self) -> (String, String) {
        let request = self
            .send(Channel::Control, "create_subshell_request", json!({}))
            .await;
        let reply = self
            .reply(Channel::Control, "create_subshell_reply", &request)
            .await;
        (request, reply["subshell_id"].as_str().unwrap().to_owned())
    }

    /// The next message on IOPub, which must be of this type and about this request.
    pub(crate) async fn iopub(&mut self, msg_type: &str, about: &str) -> Value {
        let message = self.raw.receive(Channel::IoPub).await.unwrap();
        assert_eq!(
            (message.msg_type(), message.parent_header.msg_id.as_str()),
            (msg_type, about),
            "unexpected: {message:?}"
        );
        message.content
    }

    /// Expects a status.
    pub(crate) async fn status(&mut self, state: &str, about: &str) {
        assert_eq!(
            self.iopub("status", about).await,
            json!({"execution_state": state})
        );
    }

    /// Expects busy and the echo of the input, and returns the cell's number.
    pub(crate) async fn begin(&mut self, about: &str) -> u64 {
        self.status("busy", about).await;
        let input = self.iopub("execute_input", about).await;
        input["execution_count"].as_u64().unwrap()
    }

    /// Expects the text of a stream, in however many pieces.
    pub(crate) async fn stream(&mut self, name: &str, text: &str, about: &str) {
        let mut received = String::new();
        while received.len() < text.len() {
            let content = self.iopub("stream", about).await;
            assert_eq!(content["name"], name);
            received.push_str(content["text"].as_str().unwrap());
        }
        assert_eq!(received, text);
    }

    /// The next reply on a channel, which must be to this request.
    pub(crate) async fn reply(&mut self, channel: Channel, msg_type: &str, to: &str) -> Value {
        let message: Incoming = self.raw.receive(channel).await.unwrap();
        assert_eq!(
            (message.msg_type(), message.parent_header.msg_id.as_str()),
            (msg_type, to),
            "unexpected: {message:?}"
        );
        message.content
    }

    /// Expects the reply to a cell and its status.
    pub(crate) async fn replied(&mut self, status: &str, to: &str) -> Value {
        let content = self.reply(Channel::Shell, "execute_reply", to).await;
        assert_eq!(content["status"], status, "{content}");
        content
    }

    /// Runs a whole cell that shows nothing, and returns its number.
    pub(crate) async fn quiet_cell(&mut self, code: &str) -> u64 {
        let id = self.execute(code).await;
        let number = self.begin(&id).await;
        self.status("idle", &id).await;
        self.replied("ok", &id).await;
        number
    }

    /// Makes sure that nothing unasserted is left: the next messages are those of a new request.
    pub(crate) async fn nothing_left(&mut self) {
        let id = self
            .send(Channel::Shell, "kernel_info_request", json!({}))
            .await;
        self.status("busy", &id).await;
        self.status("idle", &id).await;
        self.reply(Channel::Shell, "kernel_info_reply", &id).await;
        let id = self
            .send(Channel::Control, "kernel_info_request", json!({}))
            .await;
        self.status("busy", &id).await;
        self.status("idle", &id).await;
        self.reply(Channel::Control, "kernel_info_reply", &id).await;
    }
}
