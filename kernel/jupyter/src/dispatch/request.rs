//! A request on its way: the message, the channel it came by, the way to answer it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::core::Core;
use crate::sockets::Router;
use crate::wire::{Incoming, Parent, Reply};

/// A request that must be answered.
pub(crate) struct Request {
    pub(crate) message: Incoming,
    pub(crate) parent: Arc<Parent>,
    router: Router,
    /// Makes room for other messages when this one is dealt with.
    _room: OwnedSemaphorePermit,
}

impl Request {
    pub(crate) fn new(message: Incoming, room: OwnedSemaphorePermit, router: &Router) -> Self {
        let parent = Arc::new(message.request.clone());
        Self {
            message,
            parent,
            router: router.clone(),
            _room: room,
        }
    }

    /// The content, or all defaults if it is not what it should be.
    pub(crate) fn content<T: serde::de::DeserializeOwned + Default>(&self) -> T {
        self.message.content_as().unwrap_or_default()
    }

    /// Sends the reply, whose type is the request's with another ending.
    pub(crate) fn reply(&self, core: &Core, reply: Reply) {
        let request_type = self.message.msg_type();
        let stem = request_type
            .strip_suffix("_request")
            .unwrap_or(request_type);
        let msg_type = format!("{stem}_reply");
        let identities = &self.message.identities;
        let frames = core
            .session
            .message(identities, &msg_type, &self.parent, reply.into_map());
        self.router.send(frames);
    }
}
