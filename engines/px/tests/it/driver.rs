//! Plays evcxr: compiles cells with rustc and sends them to a real cell host.

use bireme_px::host_protocol::HostEvent;
use bireme_px::relay::Relay;
use bireme_px::side_channel::SOCKET_ENV;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What every cell is compiled with; it belongs to the Rust host.
const PRELUDE: &str = include_str!("../../../../kernel/rust-host/prelude/cell.rs");
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// An event with its body.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) event: HostEvent,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct Heard {
    told: Mutex<Vec<Told>>,
    changed: Condvar,
}

pub(crate) struct Driver {
    pub(crate) relay: Relay,
    heard: Arc<Heard>,
    directory: tempfile::TempDir,
    child: Child,
    answers: BufReader<ChildStdout>,
    compiled: usize,
}

impl Driver {
    pub(crate) fn start() -> Driver {
        let directory = tempfile::tempdir().unwrap();
        let heard = Arc::new(Heard::default());
        let sink = Arc::clone(&heard);
        let sink = Arc::new(move |event, body: &[u8]| {
            let body = body.to_vec();
            sink.told.lock().unwrap().push(Told { event, body });
            sink.changed.notify_all();
        });
        let relay = Relay::start(&directory.path().join("relay"), sink).unwrap();
        let (child, answers) = spawn(relay.socket());
        Driver {
            relay,
            heard,
            directory,
            child,
            answers,
            compiled: 0,
        }
    }

    /// Another cell host in the place of one that died.
    pub(crate) fn restart(&mut self) {
        self.child.wait().unwrap();
        (self.child, self.answers) = spawn(self.relay.socket());
    }

    /// Compiles the body of a cell.
    pub(crate) fn compile(&mut self, body: &str) -> PathBuf {
        self.compiled += 1;
        let source = self
            .directory
            .path()
            .join(format!("cell_{}.rs", self.compiled));
        let library = source.with_extension("so");
        let code = format!(
            "#![allow(unused, unreachable_code)]\n{PRELUDE}\n#[unsafe(no_mangle)]\npub extern \"C\" fn \
             run_user_code(store: *mut u8) -> *mut u8 {{\nif std::panic::catch_unwind(|| {{\n{body}\n}}).is_err() {{ \
             println!(\"EVCXR_PANIC_NOTIFICATION\"); }}\nstore }}\n"
        );
        std::fs::write(&source, code).unwrap();
        let output = Command::new("rustc")
            .args([
                "--edition=2024",
                "--crate-type=cdylib",
                "-Cprefer-dynamic",
                "-Crpath",
            ])
            .arg("-o")
            .args([&library, &source])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        library
    }

    /// Sends the command to run a cell.
    pub(crate) fn run(&mut self, library: &Path) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "LOAD_AND_RUN {} run_user_code", library.display()).unwrap();
    }

    /// The lines evcxr reads, up to the completion or the end.
    pub(crate) fn answer(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.answers.by_ref().lines() {
            lines.push(line.unwrap());
            if lines.last().unwrap() == "EVCXR_EXECUTION_COMPLETE" {
                break;
            }
        }
        lines
    }

    /// Runs a cell to its end; gives what was told meanwhile.
    pub(crate) fn evaluate(&mut self, id: u64, library: &Path) -> Vec<Told> {
        self.heard.told.lock().unwrap().clear();
        self.relay.begin(Some(id));
        self.run(library);
        assert_eq!(self.answer(), ["EVCXR_EXECUTION_COMPLETE"]);
        self.relay.end(false);
        self.told()
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.heard.told.lock().unwrap().clone()
    }

    /// Waits until what was told satisfies a condition; gives when it did.
    pub(crate) fn wait_for(&self, condition: impl Fn(&[Told]) -> bool) -> Instant {
        let told = self.heard.told.lock().unwrap();
        let (told, timeout) = self
            .heard
            .changed
            .wait_timeout_while(told, WAIT_LIMIT, |told| !condition(told))
            .unwrap();
        assert!(!timeout.timed_out(), "told: {told:?}");
        Instant::now()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cell host is an example of this crate, which cargo builds next to its tests.
fn spawn(socket: &Path) -> (Child, BufReader<ChildStdout>) {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let program = built.join("examples").join("cell_host");
    let mut child = Command::new(&program)
        .env(SOCKET_ENV, socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("run {}: {error}", program.display()));
    let answers = BufReader::new(child.stdout.take().unwrap());
    (child, answers)
}
