//! The way to one other rank: a bounded queue of rows, a queue of small messages that overtake
//! them, and the task that connects and writes. When the rank is gone, what waits is dropped and
//! the next message tries a new connection: a restarted engine has the same address.

use crate::connection::{Connection, Message, WRITE_WITHIN};
use crate::error::CollectivesError;
use crate::frame_header::Greeting;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Messages with rows that wait for the wire, per rank.
const ROWS_MAX: usize = 16;
/// Small messages that wait for the wire, per rank. More of them means that the rank does not
/// read at all.
const SIGNALS_MAX: usize = 65_536;
/// How long a rank may take to listen. One that is starting listens within 50 ms; one that does
/// not by then has ended, and whoever waits for it is to know within 2 s.
const CONNECT_WITHIN: Duration = Duration::from_millis(1500);
const CONNECT_EVERY: Duration = Duration::from_millis(20);
/// A connection that has been quiet for so long keeps no memory for its next message.
const TRIM_AFTER: Duration = Duration::from_secs(1);

/// Called when a rank is gone.
pub(crate) type OnLost = Arc<dyn Fn(usize, &CollectivesError) + Send + Sync>;

#[derive(Debug)]
struct Signals {
    queue: Mutex<VecDeque<Message>>,
    /// Whether a connection is wanted though there is nothing to write.
    reach: AtomicBool,
    added: Notify,
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Link {
    peer: usize,
    rows: mpsc::Sender<Message>,
    signals: Arc<Signals>,
}

/// What the writing task does next.
enum Work {
    Send(Message),
    /// Nothing but to have a connection.
    Connect,
}

/// The task that writes.
pub(crate) struct LinkWriter {
    peer: usize,
    path: PathBuf,
    greeting: Greeting,
    share_memory: bool,
    rows: mpsc::Receiver<Message>,
    signals: Arc<Signals>,
    on_lost: OnLost,
}

impl Link {
    pub(crate) fn new(
        peer: usize,
        path: PathBuf,
        greeting: Greeting,
        share_memory: bool,
        on_lost: OnLost,
    ) -> (Self, LinkWriter) {
        let (sender, rows) = mpsc::channel(ROWS_MAX);
        let signals = Arc::new(Signals {
            queue: Mutex::default(),
            reach: AtomicBool::new(false),
            added: Notify::new(),
        });
        let link = Self {
            peer,
            rows: sender,
            signals: Arc::clone(&signals),
        };
        let writer = LinkWriter {
            peer,
            path,
            greeting,
            share_memory,
            rows,
            signals,
            on_lost,
        };
        (link, writer)
    }

    /// Queues rows, waiting while the queue is full.
    pub(crate) async fn send(&self, message: Message) -> Result<(), CollectivesError> {
        let sent = self
            .rows
            .send_timeout(message, CONNECT_WITHIN + WRITE_WITHIN);
        sent.await.map_err(|_| CollectivesError::Stuck {
            peer: self.peer,
            seconds: (CONNECT_WITHIN + WRITE_WITHIN).as_secs(),
            queued: ROWS_MAX,
        })
    }

    /// Connects if there is no connection, so that the rank's end is noticed from now on.
    pub(crate) fn reach(&self) {
        self.signals.reach.store(true, Ordering::Release);
        self.signals.added.notify_one();
    }

    /// Queues a small message.
    pub(crate) fn post(&self, message: Message) -> Result<(), CollectivesError> {
        {
            let mut queue = self.signals.queue.lock();
            if queue.len() >= SIGNALS_MAX {
                return Err(CollectivesError::Stuck {
                    peer: self.peer,
                    seconds: 0,
                    queued: queue.len(),
                });
            }
            queue.push_back(message);
        }
        self.signals.added.notify_one();
        Ok(())
    }
}

impl LinkWriter {
    /// Writes until the link is dropped.
    pub(crate) async fn run(mut self) {
        let mut connection = None;
        while let Some(work) = self.wait(&mut connection).await {
            match self.act(connection.take(), work).await {
                Ok(open) => connection = Some(open),
                Err(error) => self.lose(&error),
            }
        }
    }

    async fn act(
        &self,
        connection: Option<Connection>,
        work: Work,
    ) -> Result<Connection, CollectivesError> {
        let mut connection = match connection {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        if let Work::Send(message) = work {
            let sent = connection.send(&message).await;
            sent.map_err(|source| self.error("send to", source))?;
        }
        Ok(connection)
    }

    /// What is to be done next, small messages first. Meanwhile the connection is watched.
    async fn wait(&mut self, connection: &mut Option<Connection>) -> Option<Work> {
        loop {
            if let Some(message) = self.signals.queue.lock().pop_front() {
                return Some(Work::Send(message));
            }
            if self.signals.reach.swap(false, Ordering::AcqRel) && connection.is_none() {
                return Some(Work::Connect);
            }
            let trim_after = match connection {
                Some(connection) if connection.can_trim() => TRIM_AFTER,
                _ => Duration::MAX,
            };
            let watched = async {
                match connection.as_mut() {
                    Some(connection) => connection.watch().await,
                    None => std::future::pending().await,
                }
            };
            let watched = tokio::select! {
                biased;
                () = self.signals.added.notified() => continue,
                message = self.rows.recv() => return message.map(Work::Send),
                watched = tokio::time::timeout(trim_after, watched) => watched,
            };
            match watched {
                Ok(Ok(())) => {}
                Ok(Err(source)) => {
                    *connection = None;
                    let error = self.error("send to", source);
                    self.lose(&error);
                }
                Err(_) => connection.iter_mut().for_each(Connection::trim),
            }
        }
    }

    async fn connect(&self) -> Result<Connection, CollectivesError> {
        let begun = Instant::now();
        loop {
            match Connection::open(&self.path, self.greeting, self.share_memory).await {
                Ok(connection) => return Ok(connection),
                Err(source) if begun.elapsed() >= CONNECT_WITHIN => {
                    return Err(self.error("connect within 1.5 s to", source));
                }
                Err(_) => tokio::time::sleep(CONNECT_EVERY).await,
            }
        }
    }

    /// Drops what waits and tells that the rank is gone.
    fn lose(&mut self, error: &CollectivesError) {
        while self.rows.try_recv().is_ok() {}
        self.signals.queue.lock().clear();
        (self.on_lost)(self.peer, error);
    }

    fn error(&self, action: &'static str, source: io::Error) -> CollectivesError {
        CollectivesError::Peer {
            action,
            peer: self.peer,
            source: Arc::new(source),
        }
    }
}
