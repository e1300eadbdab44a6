//! Comms: a channel between a widget in the front end and the kernel.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#custom-messages>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JsonMap, lenient};

/// Opens a comm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommOpen {
    /// Its id, chosen by the side that opens.
    #[serde(deserialize_with = "lenient::or_default")]
    pub comm_id: String,
    /// What is to answer on the other side.
    #[serde(deserialize_with = "lenient::or_default")]
    pub target_name: String,
    /// First data.
    #[serde(deserialize_with = "lenient::or_default")]
    pub data: JsonMap,
}

/// Data on an open comm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommMessage {
    /// Which comm.
    #[serde(deserialize_with = "lenient::or_default")]
    pub comm_id: String,
    /// The data.
    #[serde(deserialize_with = "lenient::or_default")]
    pub data: JsonMap,
}

/// Ends a comm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommClose {
    /// Which comm.
    #[serde(deserialize_with = "lenient::or_default")]
    pub comm_id: String,
    /// Last data.
    #[serde(deserialize_with = "lenient::or_default")]
    pub data: JsonMap,
}

/// Asks which comms are open.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommInfoRequest {
    /// Only those of this target.
    #[serde(deserialize_with = "lenient::or_default")]
    pub target_name: Option<String>,
}

/// The target of an open comm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommTarget {
    /// Its name.
    pub target_name: String,
}

/// The open comms by id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CommInfoReply {
    /// The comms.
    pub comms: BTreeMap<String, CommTarget>,
}
