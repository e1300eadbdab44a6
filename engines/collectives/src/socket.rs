//! Ranks in processes of one host: Unix sockets in a directory only their owner can enter. Each
//! rank listens on one and has one connection to every other, on which all operations' messages
//! go, with their rows in shared memory; what comes back comes on the other's connection.

use crate::communicator::{Communicator, Inbox};
use crate::connection::Message;
use crate::error::CollectivesError;
use crate::frame::{Body, Frame};
use crate::frame_header::{BODY_BYTES_MAX, Greeting, Header};
use crate::link::{Link, OnLost};
use crate::listener::{self, Destination};
use arrow::buffer::Buffer;
use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};
use std::fs::{self, DirBuilder, Permissions};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

const DIRECTORY_MODE: u32 = 0o700;

/// Where the ranks meet.
#[derive(Clone, Debug)]
pub struct SocketOptions {
    /// A directory of the cluster, made with mode 0700 if need be.
    pub directory: PathBuf,
    /// The rank of this engine.
    pub rank: usize,
    /// How many there are.
    pub size: usize,
    /// Whether rows go through shared memory; without, or where the system has none to share, they
    /// go over the sockets.
    pub share_memory: bool,
}

/// One rank of a cluster on this host. Dropping it closes its connections.
#[derive(Debug)]
pub struct SocketCommunicator {
    options: SocketOptions,
    links: Vec<Option<Link>>,
    inbox: Arc<OnceLock<Weak<dyn Inbox>>>,
    tasks: Vec<AbortOnDropHandle<()>>,
    /// The socket file it listens on.
    file: Option<(u64, i64, i64)>,
}

impl SocketCommunicator {
    /// Listens, on the current tokio runtime. Other ranks are connected to when a plan begins or
    /// the first message for them comes.
    pub fn start(options: SocketOptions) -> Result<Arc<Self>, CollectivesError> {
        let path = socket_path(&options.directory, options.rank);
        let listener =
            listen(&options.directory, &path).map_err(|source| CollectivesError::Listen {
                path: path.clone(),
                source: Arc::new(source),
            })?;
        let file = file_id(&path);
        let inbox: Arc<OnceLock<Weak<dyn Inbox>>> = Arc::default();
        let on_lost = on_lost(Arc::clone(&inbox));
        let greeting = Greeting {
            rank: options.rank as u32,
            size: options.size as u32,
            build: build_hash(),
        };
        let runtime = tokio::runtime::Handle::current();
        let mut links = Vec::with_capacity(options.size);
        let mut tasks = Vec::with_capacity(options.size + 1);
        for peer in 0..options.size {
            if peer == options.rank {
                links.push(None);
                continue;
            }
            let path = socket_path(&options.directory, peer);
            let share = options.share_memory;
            let (link, writer) = Link::new(peer, path, greeting, share, Arc::clone(&on_lost));
            links.push(Some(link));
            tasks.push(AbortOnDropHandle::new(runtime.spawn(writer.run())));
        }
        let destination = Destination {
            greeting,
            inbox: Arc::clone(&inbox),
            on_lost,
        };
        let accepting = listener::accept(listener, destination);
        tasks.push(AbortOnDropHandle::new(runtime.spawn(accepting)));
        Ok(Arc::new(Self {
            options,
            links,
            inbox,
            tasks,
            file,
        }))
    }

    fn link(&self, to: usize) -> Result<&Link, CollectivesError> {
        let link = self.links.get(to).and_then(Option::as_ref);
        link.ok_or(CollectivesError::NoSuchPeer {
            peer: to,
            size: self.options.size,
        })
    }
}

/// Tells one file at a path from the next, which may have its number.
fn file_id(path: &Path) -> Option<(u64, i64, i64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.ino(), file.mtime(), file.mtime_nsec()))
}

impl Drop for SocketCommunicator {
    fn drop(&mut self) {
        self.tasks.clear();
        let path = socket_path(&self.options.directory, self.options.rank);
        // A later exchange of the same size may have put its own there.
        if file_id(&path) != self.file {
            return;
        }
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "remove socket");
        }
    }
}

#[async_trait]
impl Communicator for SocketCommunicator {
    fn rank(&self) -> usize {
        self.options.rank
    }

    fn size(&self) -> usize {
        self.options.size
    }

    fn attach(&self, inbox: Weak<dyn Inbox>) {
        self.inbox.get_or_init(|| inbox);
    }

    async fn send(&self, to: usize, frame: Frame) -> Result<u64, CollectivesError> {
        let link = self.link(to)?;
        let message = message(frame)?;
        let bytes = message.header.body_bytes;
        link.send(message).await?;
        Ok(bytes)
    }

    fn reach_all(&self) {
        self.links.iter().flatten().for_each(Link::reach);
    }

    fn post(&self, to: usize, frame: Frame) -> Result<(), CollectivesError> {
        let link = self.link(to)?;
        link.post(message(frame)?)
    }
}

fn socket_path(directory: &Path, rank: usize) -> PathBuf {
    directory.join(format!("exchange-{rank}"))
}

fn listen(directory: &Path, path: &Path) -> io::Result<UnixListener> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(DIRECTORY_MODE))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

fn on_lost(inbox: Arc<OnceLock<Weak<dyn Inbox>>>) -> OnLost {
    Arc::new(move |peer, error| {
        tracing::debug!(peer, %error, "lost an engine");
        let rank = u32::try_from(peer).unwrap_or(u32::MAX);
        let message = format!("engine {peer} ended or went silent");
        let fault = Fault::new(ErrorCode::EngineLost, message)
            .with_cause(error.to_string())
            .on_engine(rank);
        if let Some(inbox) = inbox.get().and_then(Weak::upgrade) {
            inbox.lost(peer, fault);
        }
    })
}

/// Messages are only understood by the build that wrote them.
fn build_hash() -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(bireme_protocol::build_id())
}

fn message(frame: Frame) -> Result<Message, CollectivesError> {
    let body = match frame.body {
        Body::Empty => Vec::new(),
        Body::Batch(batch) => bireme_frames::encode_batch(&batch)?,
        Body::Encoded(buffer) => vec![buffer],
        Body::Fault(fault) => vec![Buffer::from_vec(fault.to_json().into_bytes())],
    };
    let body_bytes: u64 = body.iter().map(|piece| piece.len() as u64).sum();
    if body_bytes > BODY_BYTES_MAX {
        return Err(CollectivesError::Malformed {
            peer: 0,
            reason: format!("a batch of {body_bytes} bytes, {BODY_BYTES_MAX} are allowed"),
        });
    }
    let header = Header {
        operation: frame.operation,
        kind: frame.kind,
        partition: frame.partition,
        bytes: frame.bytes,
        body_bytes,
        offset: None,
    };
    Ok(Message { header, body })
}
