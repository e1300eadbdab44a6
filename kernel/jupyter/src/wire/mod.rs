//! The words of the Jupyter messaging protocol, one file per message family.
//!
//! Everything that comes from a client is read leniently: a missing, null or ill-typed field takes
//! its default, because a strict reader loses the message together with the address to answer to.
//! Everything we send has every field the specification asks for, and objects are never null.
//! Framing and signatures are `message` and `signing`; who answers what is `dispatch`.
//!
//! Specification: <https://jupyter-client.readthedocs.io/en/stable/messaging.html>

mod comm;
mod complete;
mod display;
mod error;
mod execute;
mod header;
mod history;
mod input;
mod inspect;
mod is_complete;
mod kernel_info;
mod lenient;
mod message;
mod mime_bundle;
mod reply;
mod shutdown;
mod status;
mod stream;
mod subshell;

pub use comm::{CommClose, CommInfoReply, CommInfoRequest, CommMessage, CommOpen, CommTarget};
pub use complete::{CompleteReply, CompleteRequest, CompletionType};
pub use display::{ClearOutput, DisplayData, ExecuteResult, Transient};
pub use error::CellError;
pub use execute::{ExecuteInput, ExecuteReply, ExecuteRequest, Payload};
pub use header::{Header, PROTOCOL_VERSION, Parent};
pub use history::{HistoryAccess, HistoryEntry, HistoryReply, HistoryRequest};
pub use input::{InputReply, InputRequest};
pub use inspect::{InspectReply, InspectRequest};
pub use is_complete::{IsCompleteReply, IsCompleteRequest};
pub use kernel_info::{HelpLink, KernelInfo, LanguageInfo};
pub use message::{Incoming, MessageError, Outgoing};
pub use mime_bundle::{JsonMap, MimeBundle};
pub use reply::{Reply, ReplyStatus};
pub use shutdown::{ShutdownReply, ShutdownRequest};
pub use status::{ExecutionState, Status};
pub use stream::{Stream, StreamName};
pub use subshell::{CreateSubshellReply, DeleteSubshellRequest, ListSubshellReply};
