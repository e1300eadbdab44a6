//! Ranks in one process: a message is a call. For tests and for clusters of one engine.

use crate::communicator::{Communicator, Inbox};
use crate::error::CollectivesError;
use crate::frame::Frame;
use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// One rank of a cluster within this process.
pub struct InProcessCommunicator {
    rank: usize,
    ranks: Arc<[Rank]>,
}

#[derive(Default)]
struct Rank {
    inbox: OnceLock<Weak<dyn Inbox>>,
    gone: AtomicBool,
}

impl InProcessCommunicator {
    /// All ranks of a new cluster.
    pub fn cluster(size: usize) -> Vec<Arc<Self>> {
        let ranks: Arc<[Rank]> = (0..size).map(|_| Rank::default()).collect();
        let make = |rank| Self {
            rank,
            ranks: Arc::clone(&ranks),
        };
        (0..size).map(make).map(Arc::new).collect()
    }

    /// Cuts this rank off, as though its process had been killed: the others lose it.
    pub fn cut_off(&self) {
        self.ranks[self.rank].gone.store(true, Ordering::Release);
        let others = self.ranks.iter().enumerate();
        for (_, other) in others.filter(|(rank, _)| *rank != self.rank) {
            if let Some(inbox) = other.inbox.get().and_then(Weak::upgrade) {
                inbox.lost(self.rank, ended(self.rank));
            }
        }
    }

    fn pass(&self, to: usize, frame: Frame) -> Result<(), CollectivesError> {
        let Some(rank) = self.ranks.get(to) else {
            return Err(CollectivesError::NoSuchPeer {
                peer: to,
                size: self.ranks.len(),
            });
        };
        let cut =
            rank.gone.load(Ordering::Acquire) || self.ranks[self.rank].gone.load(Ordering::Acquire);
        match rank.inbox.get().and_then(Weak::upgrade) {
            Some(inbox) if !cut => {
                inbox.deliver(self.rank, frame);
                Ok(())
            }
            _ => Err(CollectivesError::Peer {
                action: "send to",
                peer: to,
                source: Arc::new(std::io::ErrorKind::NotConnected.into()),
            }),
        }
    }
}

fn ended(rank: usize) -> Fault {
    Fault::new(ErrorCode::EngineLost, format!("engine {rank} ended"))
        .on_engine(u32::try_from(rank).unwrap_or(u32::MAX))
}

impl fmt::Debug for InProcessCommunicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "InProcessCommunicator({} of {})",
            self.rank,
            self.ranks.len()
        )
    }
}

#[async_trait]
impl Communicator for InProcessCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.ranks.len()
    }

    fn attach(&self, inbox: Weak<dyn Inbox>) {
        self.ranks[self.rank].inbox.get_or_init(|| inbox);
    }

    async fn send(&self, to: usize, frame: Frame) -> Result<u64, CollectivesError> {
        self.pass(to, frame)?;
        Ok(0)
    }

    fn reach_all(&self) {
        let inbox = self.ranks[self.rank].inbox.get().and_then(Weak::upgrade);
        let Some(inbox) = inbox else { return };
        for (rank, other) in self.ranks.iter().enumerate() {
            if rank != self.rank && other.gone.load(Ordering::Acquire) {
                inbox.lost(rank, ended(rank));
            }
        }
    }

    fn post(&self, to: usize, frame: Frame) -> Result<(), CollectivesError> {
        self.pass(to, frame)
    }
}
