//! Where a process listens. Addresses are URLs; today only `unix:` ones are served, since nothing
//! may listen to a network before it can be encrypted and authenticated.

use crate::fault::{ErrorCode, Fault};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::str::FromStr;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Longest wait for a local socket to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest path the kernel accepts for a Unix socket, with its terminating zero.
const SOCKET_PATH_MAX: usize = 107;
/// Only its owner may connect to a socket.
const SOCKET_MODE: u32 = 0o600;
/// Largest gRPC message we accept on the control plane.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A URL a process listens on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    path: PathBuf,
}

impl Address {
    /// The address of a Unix socket at `path`.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where an engine serves rows: beside its control plane, on a socket of its own, so that a busy
    /// query never delays a cancel.
    pub fn data_plane(&self) -> Self {
        Self::unix(self.path.with_extension("data.sock"))
    }

    /// Binds the socket, readable by its owner only, in place of one nobody listens on. Call it
    /// within a runtime.
    ///
    /// # Errors
    /// The path is too long for a socket, somebody listens on it, or the directory does not admit it.
    pub fn listen(&self) -> Result<UnixListener, Fault> {
        let length = self.path.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!(
                    "listen on {self}: the path has {length} bytes, a Unix socket's has {SOCKET_PATH_MAX} at most"
                ),
            )
            .with_hint("set BIREME_HOME to a shorter path"));
        }
        if self.is_served() {
            return Err(Fault::new(
                ErrorCode::Unavailable,
                format!("listen on {self}: another process listens there"),
            )
            .with_hint("end that process, or set another BIREME_HOME"));
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(self.refused("replace the old socket of", &error));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&self.path).map_err(|error| self.refused("listen on", &error))?;
        std::fs::set_permissions(&self.path, Permissions::from_mode(SOCKET_MODE))
            .map_err(|error| self.refused("close to others the socket of", &error))?;
        Ok(listener)
    }

    /// Whether somebody listens. One look tells: a local socket refuses at once or not at all.
    fn is_served(&self) -> bool {
        let connecting = pin!(UnixStream::connect(&self.path));
        match connecting.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(error)) => !matches!(
                error.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::NotFound
            ),
            Poll::Ready(Ok(_)) | Poll::Pending => true,
        }
    }

    /// Connects a gRPC channel.
    ///
    /// # Errors
    /// Nobody listens, or nobody accepts within two seconds.
    pub async fn connect(&self) -> Result<Channel, Fault> {
        let endpoint = self.endpoint();
        let connecting = endpoint.connect_with_connector(self.connector());
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(self.refused("connect to", &error)),
            Err(_) => Err(Fault::new(
                ErrorCode::Unavailable,
                format!("connect to {self}: no answer in {CONNECT_TIMEOUT:?}"),
            )),
        }
    }

    /// A channel that connects at its first use and again after a loss.
    pub fn connect_lazily(&self) -> Channel {
        self.endpoint()
            .connect_with_connector_lazy(self.connector())
    }

    fn endpoint(&self) -> Endpoint {
        // The name is never resolved: the connector below knows the path.
        Endpoint::from_static("http://bireme.local").connect_timeout(CONNECT_TIMEOUT)
    }

    fn connector(
        &self,
    ) -> impl tower::Service<
        Uri,
        Response = TokioIo<UnixStream>,
        Error = std::io::Error,
        Future = impl Future<Output = std::io::Result<TokioIo<UnixStream>>> + Send,
    > + Send
    + 'static {
        let path = self.path.clone();
        service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        })
    }

    fn refused(&self, tried: &str, error: &(dyn std::error::Error + 'static)) -> Fault {
        Fault::new(ErrorCode::Unavailable, format!("{tried} {self}")).with_sources(error)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.display())
    }
}

impl FromStr for Address {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text
            .strip_prefix("unix://")
            .or_else(|| text.strip_prefix("unix:"));
        match path {
            Some(path) if path.starts_with('/') => Ok(Self::unix(path)),
            Some(path) => Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("read address {text:?}: {path:?} is not an absolute path"),
            )),
            None => Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("read address {text:?}: only unix: addresses are served"),
            )
            .with_hint("TCP is refused until it can be encrypted and authenticated")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_what_it_writes() {
        let address: Address = "unix:/run/bireme/engine-0.sock".parse().unwrap();
        assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn tcp_is_refused_with_the_reason() {
        let fault = "tcp://0.0.0.0:1234".parse::<Address>().unwrap_err();
        assert_eq!(fault.code, ErrorCode::InvalidArgument);
        assert!(fault.hint.unwrap().contains("encrypted"));
    }

    #[tokio::test]
    async fn a_socket_is_its_owners_alone_and_replaced_only_when_nobody_listens() {
        let directory = std::env::temp_dir().join(format!("bireme-listen-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let address = Address::unix(directory.join("a.sock"));
        let listener = address.listen().unwrap();
        let mode = std::fs::metadata(address.path())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        let fault = address.listen().unwrap_err();
        assert_eq!(fault.code, ErrorCode::Unavailable);
        assert!(fault.message.ends_with("another process listens there"));

        drop(listener);
        assert!(address.path().exists(), "a killed process leaves it so");
        address.listen().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
