//! `shutdown_request`.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-shutdown>

use serde::{Deserialize, Serialize};

use super::lenient;

/// Asks the kernel to end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShutdownRequest {
    /// Whether another kernel takes its place.
    #[serde(deserialize_with = "lenient::or_default")]
    pub restart: bool,
}

/// Says that it will.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShutdownReply {
    /// As in the request.
    pub restart: bool,
}
