//! The way to one other rank: a bounded queue of rows, a queue of small messages that overtake
//! them, and the task that connects and writes. When the rank is gone, what waits is dropped and
//! the next message tries a new connection: a restarted engine has the same address.

use crate::error::CollectivesError;
use crate::frame_header::{GREETING_BYTES, Greeting};
use arrow::buffer::Buffer;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
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
/// How long one message may take to be taken by the other side.
pub(crate) const WRITE_WITHIN: Duration = Duration::from_secs(30);
/// Pieces smaller than this are gathered into one write.
const GATHER_BELOW: usize = 8 << 10;

/// Called when a rank is gone.
pub(crate) type OnLost = Arc<dyn Fn(usize, &CollectivesError) + Send + Sync>;

/// The bytes of a message.
pub(crate) type Pieces = Vec<Buffer>;

#[derive(Debug)]
struct Signals {
    queue: Mutex<VecDeque<Pieces>>,
    /// Whether a connection is wanted though there is nothing to write.
    reach: AtomicBool,
    added: Notify,
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Link {
    peer: usize,
    rows: mpsc::Sender<Pieces>,
    signals: Arc<Signals>,
}

/// The task that writes.
pub(crate) struct LinkWriter {
    peer: usize,
    path: PathBuf,
    greeting: Greeting,
    rows: mpsc::Receiver<Pieces>,
    signals: Arc<Signals>,
    on_lost: OnLost,
}

impl Link {
    pub(crate) fn new(
        peer: usize,
        path: PathBuf,
        greeting: Greeting,
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
            rows,
            signals,
            on_lost,
        };
        (link, writer)
    }

    /// Queues rows, waiting while the queue is full.
    pub(crate) async fn send(&self, pieces: Pieces) -> Result<(), CollectivesError> {
        let sent = self
            .rows
            .send_timeout(pieces, CONNECT_WITHIN + WRITE_WITHIN);
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
    pub(crate) fn post(&self, pieces: Pieces) -> Result<(), CollectivesError> {
        {
            let mut queue = self.signals.queue.lock();
            if queue.len() >= SIGNALS_MAX {
                return Err(CollectivesError::Stuck {
                    peer: self.peer,
                    seconds: 0,
                    queued: queue.len(),
                });
            }
            queue.push_back(pieces);
        }
        self.signals.added.notify_one();
        Ok(())
    }
}

impl LinkWriter {
    /// Writes until the link is dropped.
    pub(crate) async fn run(mut self) {
        let mut idle_connection = None;
        loop {
            let Some(first) = self.wait(&mut idle_connection).await else {
                return;
            };
            let result = match idle_connection.take() {
                Some(connection) => Ok(connection),
                None => self.connect().await,
            };
            let written = match result {
                Ok((read, mut write)) => match write_message(&mut write, &first).await {
                    Ok(()) => Ok((read, write)),
                    Err(source) => Err(self.error("send to", source)),
                },
                Err(error) => Err(error),
            };
            match written {
                Ok(connection) => idle_connection = Some(connection),
                Err(error) => self.lose(&error),
            }
        }
    }

    /// The next message, small ones first; an empty one if only a connection is wanted. Meanwhile
    /// the connection is watched: the other side never writes on it, so anything to read is its
    /// end.
    async fn wait(
        &mut self,
        connection: &mut Option<(OwnedReadHalf, OwnedWriteHalf)>,
    ) -> Option<Pieces> {
        loop {
            if let Some(pieces) = self.signals.queue.lock().pop_front() {
                return Some(pieces);
            }
            if self.signals.reach.swap(false, Ordering::AcqRel) && connection.is_none() {
                return Some(Pieces::new());
            }
            let mut byte = [0];
            let ended = async {
                match connection.as_mut() {
                    Some((read, _)) => read.read(&mut byte).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = self.signals.added.notified() => {}
                rows = self.rows.recv() => return rows,
                ended = ended => {
                    *connection = None;
                    let source = ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                    let error = self.error("send to", source);
                    self.lose(&error);
                }
            }
        }
    }

    async fn connect(&self) -> Result<(OwnedReadHalf, OwnedWriteHalf), CollectivesError> {
        let begun = Instant::now();
        loop {
            match self.try_connect().await {
                Ok(connection) => return Ok(connection),
                Err(source) if begun.elapsed() >= CONNECT_WITHIN => {
                    return Err(self.error("connect within 1.5 s to", source));
                }
                Err(_) => tokio::time::sleep(CONNECT_EVERY).await,
            }
        }
    }

    async fn try_connect(&self) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let stream = UnixStream::connect(&self.path).await?;
        let (read, mut write) = stream.into_split();
        let greeting: [u8; GREETING_BYTES] = self.greeting.to_bytes();
        tokio::time::timeout(WRITE_WITHIN, write.write_all(&greeting)).await??;
        Ok((read, write))
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

async fn write_message(write: &mut OwnedWriteHalf, pieces: &[Buffer]) -> io::Result<()> {
    let written = async {
        let mut gathered = Vec::new();
        for piece in pieces {
            if piece.len() < GATHER_BELOW {
                gathered.extend_from_slice(piece.as_slice());
                continue;
            }
            write.write_all(&gathered).await?;
            gathered.clear();
            write.write_all(piece.as_slice()).await?;
        }
        write.write_all(&gathered).await
    };
    tokio::time::timeout(WRITE_WITHIN, written).await?
}
