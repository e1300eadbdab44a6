//! Subshells: further queues of cells beside the main one (JEP 91).
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#create-subshell>

use serde::{Deserialize, Serialize};

use super::lenient;

/// Names the new subshell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateSubshellReply {
    /// Goes into the header of requests meant for it.
    pub subshell_id: String,
}

/// Ends a subshell.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteSubshellRequest {
    /// Which one.
    #[serde(deserialize_with = "lenient::or_default")]
    pub subshell_id: String,
}

/// Lists the subshells there are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListSubshellReply {
    /// Their ids, oldest first.
    pub subshell_id: Vec<String>,
}
