//! A kernel in a directory of its own, and a front end that runs cells in it.

use bireme_jupyter::wire::{CellError, ExecuteRequest};
use bireme_jupyter::{
    BoundSockets, ConnectionFile, Execution, ExecutionEnd, Frontend, FrontendMessage, ServeOptions,
    serve,
};
use bireme_kernel::{BiremeKernel, KernelOptions};
use bireme_protocol::SessionName;
use bireme_settings::{Home, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// The directory notebooks share: the same home, so the same history.
pub(crate) struct Place {
    directory: TempDir,
}

/// A running notebook.
pub(crate) struct Notebook {
    pub(crate) front_end: Frontend,
    kernels: JoinSet<()>,
    stop: CancellationToken,
}

/// What a cell gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) messages: Vec<FrontendMessage>,
    pub(crate) end: ExecutionEnd,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a kernel for a notebook of this name.
    pub(crate) async fn open(&self, name: &str) -> Notebook {
        let home = Home::at(&self.directory.path().join("home")).unwrap();
        let settings = Settings::load(&home).unwrap();
        let options = KernelOptions {
            rust_program: scripted_host(),
            ..KernelOptions::new(
                home,
                settings,
                self.directory.path().join("no-such-program"),
                SessionName(name.to_owned()),
                self.directory.path().to_owned(),
            )
        };
        let sockets = self
            .directory
            .path()
            .join(format!("s{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&sockets).unwrap();
        let connection = ConnectionFile::new_ipc(&sockets);
        let bound = BoundSockets::bind(&connection).await.unwrap();
        let kernel = Arc::new(BiremeKernel::new(options));
        let stop = CancellationToken::new();
        let options = ServeOptions {
            stop: stop.clone(),
            ..ServeOptions::default()
        };
        let mut kernels = JoinSet::new();
        kernels.spawn(async move {
            serve(bound, kernel, options).await.unwrap();
        });
        let front_end = Frontend::connect(&connection, DEADLINE).await.unwrap();
        Notebook {
            front_end,
            kernels,
            stop,
        }
    }

    /// A path nothing has yet.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// The example of this package, built with its tests.
fn scripted_host() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let built = own.parent().and_then(|deps| deps.parent()).unwrap();
    let program = built.join("examples/scripted_host");
    assert!(
        program.exists(),
        "{} is built with `cargo test`, not with `--tests`",
        program.display()
    );
    program
}

impl Notebook {
    /// Starts a cell.
    pub(crate) async fn start(&self, code: &str) -> Execution {
        self.front_end
            .execute(ExecuteRequest::new(code))
            .await
            .unwrap()
    }

    /// Runs a cell to its end.
    pub(crate) async fn run(&self, code: &str) -> Ran {
        let execution = self.start(code).await;
        let collected = tokio::time::timeout(DEADLINE, execution.collect()).await;
        let (messages, end) = collected.expect("the cell ends").unwrap();
        Ran { messages, end }
    }

    /// Ends the kernel in order.
    pub(crate) async fn close(self) {
        self.front_end.shutdown(false).await.unwrap();
        self.ended().await;
    }

    /// Ends the kernel as a signal does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended().await;
    }

    async fn ended(mut self) {
        let ended = tokio::time::timeout(DEADLINE, self.kernels.join_next()).await;
        ended.expect("the kernel ends").unwrap().unwrap();
    }
}

/// Reads a cell's messages until it has printed or shown something.
pub(crate) async fn until_printed(execution: &mut Execution, text: &str) {
    let reading = async {
        while let Some(message) = execution.next().await.unwrap() {
            let printed = match &message {
                FrontendMessage::Stream(stream) => Some(stream.text.as_str()),
                FrontendMessage::DisplayData(shown) => shown.data.plain_text(),
                _ => None,
            };
            if printed.is_some_and(|printed| printed.contains(text)) {
                return;
            }
        }
        panic!("the cell ended without printing {text:?}");
    };
    tokio::time::timeout(DEADLINE, reading)
        .await
        .expect("the cell prints");
}

impl Ran {
    /// Everything printed.
    pub(crate) fn printed(&self) -> String {
        let texts = self.messages.iter().filter_map(|message| match message {
            FrontendMessage::Stream(stream) => Some(stream.text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The plain text of everything shown, in order.
    pub(crate) fn shown(&self) -> Vec<String> {
        let bundles = self.messages.iter().filter_map(|message| match message {
            FrontendMessage::DisplayData(shown) => Some(&shown.data),
            FrontendMessage::ExecuteResult(shown) => Some(&shown.data),
            _ => None,
        });
        bundles
            .filter_map(|data| data.plain_text())
            .map(str::to_owned)
            .collect()
    }

    /// The failure: published once, and the same in the reply.
    pub(crate) fn failure(&self) -> CellError {
        let errors: Vec<_> = self
            .messages
            .iter()
            .filter_map(|message| match message {
                FrontendMessage::Error(error) => Some(error.clone()),
                _ => None,
            })
            .collect();
        let [error] = &errors[..] else {
            panic!("one error, not {errors:?} in {self:?}")
        };
        assert_eq!(self.end.reply.error.as_ref(), Some(error));
        error.clone()
    }
}
