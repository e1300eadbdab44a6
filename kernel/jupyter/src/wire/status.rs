//! Whether the kernel is busy with a request.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-status>

use serde::{Deserialize, Serialize};

/// What the kernel does about the parent request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecutionState {
    /// Sent once, to the first subscriber.
    Starting,
    /// The request is being handled.
    Busy,
    /// Every message of the request has been sent.
    #[default]
    Idle,
}

/// Content of `status`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The state.
    pub execution_state: ExecutionState,
}
