//! The file by which a client tells a kernel where to listen and how to sign.
//! <https://jupyter-client.readthedocs.io/en/stable/kernels.html#connection-files>

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{JupyterError, Result};
use crate::zmtp::Endpoint;

/// How the sockets are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionTransport {
    /// Ports of a network interface.
    #[default]
    Tcp,
    /// Unix sockets.
    Ipc,
}

/// Where a kernel listens and how its messages are signed.
#[derive(Clone, Serialize, Deserialize)]
pub struct ConnectionFile {
    /// How the sockets are reached.
    #[serde(default)]
    pub transport: ConnectionTransport,
    /// The interface; for `ipc` the path to which `-PORT` is appended.
    pub ip: String,
    /// Port of the shell channel.
    pub shell_port: u16,
    /// Port of the control channel.
    pub control_port: u16,
    /// Port of the stdin channel.
    pub stdin_port: u16,
    /// Port of the IOPub channel.
    pub iopub_port: u16,
    /// Port of the heartbeat.
    pub hb_port: u16,
    /// The secret; empty for no signatures.
    #[serde(default)]
    pub key: String,
    /// How to sign; only `hmac-sha256` is known.
    #[serde(default = "default_scheme")]
    pub signature_scheme: String,
    /// The kernelspec that the client started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_name: Option<String>,
}

/// The key is a secret, so the debug form leaves it out.
impl std::fmt::Debug for ConnectionFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ConnectionFile")
            .field("transport", &self.transport)
            .field("ip", &self.ip)
            .field("shell_port", &self.shell_port)
            .finish_non_exhaustive()
    }
}

/// One of the five sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Cells and questions about code.
    Shell,
    /// Interrupt, shutdown, debugging: never behind a cell.
    Control,
    /// Questions to the user.
    Stdin,
    /// Outputs, to everybody.
    IoPub,
    /// Echoes.
    Heartbeat,
}

impl Channel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Control => "control",
            Self::Stdin => "stdin",
            Self::IoPub => "iopub",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl ConnectionFile {
    /// Reads a connection file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| JupyterError::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|error| JupyterError::Malformed {
            path: path.to_owned(),
            reason: format!("not a connection file: {error}"),
        })
    }

    /// Writes the file so that only its owner can read it.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).map_err(|error| JupyterError::Malformed {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(json.as_bytes()))
            .map_err(|source| JupyterError::File {
                action: "write",
                path: path.to_owned(),
                source,
            })
    }

    /// A new connection over Unix sockets in `directory`, which must be private to its owner.
    pub fn new_ipc(directory: &Path) -> Self {
        let ip = directory.join("kernel").display().to_string();
        Self::new(ConnectionTransport::Ipc, ip, [1, 2, 3, 4, 5])
    }

    /// A new connection over free ports of the loopback interface.
    pub fn new_loopback() -> Self {
        Self::new(ConnectionTransport::Tcp, "127.0.0.1".to_owned(), [0; 5])
    }

    fn new(transport: ConnectionTransport, ip: String, ports: [u16; 5]) -> Self {
        let [shell_port, control_port, stdin_port, iopub_port, hb_port] = ports;
        Self {
            transport,
            ip,
            shell_port,
            control_port,
            stdin_port,
            iopub_port,
            hb_port,
            key: Uuid::new_v4().simple().to_string(),
            signature_scheme: default_scheme(),
            kernel_name: None,
        }
    }

    pub(crate) fn endpoint(&self, channel: Channel) -> Endpoint {
        let port = match channel {
            Channel::Shell => self.shell_port,
            Channel::Control => self.control_port,
            Channel::Stdin => self.stdin_port,
            Channel::IoPub => self.iopub_port,
            Channel::Heartbeat => self.hb_port,
        };
        match self.transport {
            ConnectionTransport::Tcp if self.ip == "*" => Endpoint::Tcp("0.0.0.0".to_owned(), port),
            ConnectionTransport::Tcp => Endpoint::Tcp(self.ip.clone(), port),
            ConnectionTransport::Ipc => Endpoint::Ipc(PathBuf::from(format!("{}-{port}", self.ip))),
        }
    }

    pub(crate) fn set_port(&mut self, channel: Channel, port: u16) {
        match channel {
            Channel::Shell => self.shell_port = port,
            Channel::Control => self.control_port = port,
            Channel::Stdin => self.stdin_port = port,
            Channel::IoPub => self.iopub_port = port,
            Channel::Heartbeat => self.hb_port = port,
        }
    }
}

fn default_scheme() -> String {
    "hmac-sha256".to_owned()
}
