//! Collectives between engines: a communicator (rank, size, tagged messages) in process and between
//! processes of one host, with rows in shared memory, and the streaming all-to-all exchange of record batches that the plan nodes of
//! bireme-operators drive. Which rows go where is decided there; what is kept when memory runs
//! out goes to the spill directory of bireme-frames.

mod communicator;
mod connection;
mod counters;
mod credit;
mod ending;
mod error;
mod exchange;
mod frame;
mod frame_header;
mod in_process;
mod link;
mod listener;
mod operation;
mod partition;
mod plan_end;
mod plan_scope;
mod receive;
mod receiver;
mod releases;
mod socket;
mod spill_observer;
mod spill_queue;
mod sweeper;

pub use communicator::{Communicator, Inbox};
pub use counters::QueryCounters;
pub use error::{CollectivesError, fault_of};
pub use exchange::{Exchange, PlanGuard};
pub use frame::{Body, Frame, FrameKind, OperationId};
pub use in_process::InProcessCommunicator;
pub use operation::{Operation, OperationSpec};
pub use plan_end::PlanEnd;
pub use receiver::Receiver;
pub use socket::{SocketCommunicator, SocketOptions};
pub use spill_observer::SpillMove;
