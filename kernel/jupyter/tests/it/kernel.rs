//! An echo kernel in this process, and where to reach it.

use std::sync::Arc;
use std::time::Duration;

use bireme_jupyter::{BoundSockets, ConnectionFile, ExitReason, Kernel, ServeOptions, serve};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::language::Echo;
use crate::script::{DEADLINE, Script};

/// A running kernel; it is stopped when this is dropped.
pub(crate) struct TestKernel {
    pub(crate) connection: ConnectionFile,
    pub(crate) echo: Arc<Echo>,
    served: JoinSet<bireme_jupyter::Result<ExitReason>>,
    _directory: TempDir,
}

impl TestKernel {
    /// Starts one over Unix sockets.
    pub(crate) async fn start() -> Self {
        Self::start_with(true, ServeOptions::default()).await
    }

    /// Starts one over Unix sockets or over TCP.
    pub(crate) async fn start_with(is_ipc: bool, options: ServeOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let connection = if is_ipc {
            ConnectionFile::new_ipc(directory.path())
        } else {
            ConnectionFile::new_loopback()
        };
        let sockets = BoundSockets::bind(&connection).await.unwrap();
        let connection = sockets.connection().clone();
        let mut served = JoinSet::new();
        let echo = Arc::new(Echo::default());
        let kernel: Arc<dyn Kernel> = Arc::<Echo>::clone(&echo);
        served.spawn(serve(sockets, kernel, options));
        Self {
            connection,
            echo,
            served,
            _directory: directory,
        }
    }

    /// A new client that has been welcomed. Only the first is told of the start.
    pub(crate) async fn client(&self) -> Script {
        Script::connect(&self.connection).await
    }

    /// Waits until the kernel ends by itself.
    pub(crate) async fn ended(mut self) -> ExitReason {
        let ended = timeout(DEADLINE, self.served.join_next())
            .await
            .expect("the kernel ends");
        ended.unwrap().unwrap().unwrap()
    }
}

/// Longest time from an interrupt to the prompt.
pub(crate) const PROMPT: Duration = Duration::from_millis(500);
