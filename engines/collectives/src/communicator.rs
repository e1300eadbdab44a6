//! What a transport must do: carry tagged messages between ranks, in order, without dropping any.
//! One test suite runs on all of them. A transport through shared memory fits the same trait: a
//! [`crate::Body`] is encoded by the transport, not by its callers.

use crate::error::CollectivesError;
use crate::frame::Frame;
use async_trait::async_trait;
use bireme_protocol::Fault;
use std::fmt::Debug;
use std::sync::Weak;

/// Carries messages between the ranks of a cluster.
#[async_trait]
pub trait Communicator: Debug + Send + Sync + 'static {
    /// The rank of this engine.
    fn rank(&self) -> usize;

    /// How many ranks there are.
    fn size(&self) -> usize;

    /// Names who gets what arrives. Called once, before anything is sent.
    fn attach(&self, inbox: Weak<dyn Inbox>);

    /// Queues a message for another rank, waiting while its queue is full, at most until the
    /// transport's deadline. Messages sent to one rank arrive in order. Returns the bytes it puts
    /// on the wire, 0 if it passes by reference.
    async fn send(&self, to: usize, frame: Frame) -> Result<u64, CollectivesError>;

    /// Makes sure that every other rank is connected, or soon reported as lost. Called when this
    /// engine gets its part of a plan, so that a rank that is gone is missed also by those who
    /// have nothing to send to it yet. It does not wait.
    fn reach_all(&self);

    /// Queues a small message that never waits and may overtake what was sent before.
    fn post(&self, to: usize, frame: Frame) -> Result<(), CollectivesError>;
}

/// Gets what arrives. Neither call may block: senders hold credit for what they send.
pub trait Inbox: Send + Sync {
    /// A message has come from another rank.
    fn deliver(&self, from: usize, frame: Frame);

    /// Another rank cannot be reached any more, for this reason.
    fn lost(&self, peer: usize, fault: Fault);
}
