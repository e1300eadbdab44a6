//! Plays evcxr: compiles cells with rustc and sends them to a real cell host.

use bireme_px::host_protocol::HostEvent;
use bireme_px::relay::{CellReport, Relay};
use bireme_px::side_channel::SOCKET_ENV;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What every cell is compiled with; it belongs to the Rust host.
const PRELUDE: &str = concat!(
    "mod __bireme {\n",
    include_str!("../../../../kernel/api/src/cell.rs"),
    "}\n",
    include_str!("../../../../kernel/rust-host/prelude/macros.rs")
);
/// The last line of an answer.
pub(crate) const COMPLETE: &str = "EVCXR_EXECUTION_COMPLETE";
/// Stands for the line that makes evcxr give an evaluation up.
pub(crate) const ABANDONED: &str = "(abandoned)";
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

    /// The process evcxr would know.
    pub(crate) fn supervisor(&self) -> u32 {
        self.child.id()
    }

    /// Ends that process, as evcxr does when it restarts it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Another cell host in the place of one that died.
    pub(crate) fn restart(&mut self) {
        self.child.wait().unwrap();
        (self.child, self.answers) = spawn(self.relay.socket());
    }

    /// Compiles the body of a cell. The number `store` persists between cells.
    pub(crate) fn compile(&mut self, body: &str) -> PathBuf {
        self.compiled += 1;
        let source = self
            .directory
            .path()
            .join(format!("cell_{}.rs", self.compiled));
        let library = source.with_extension("so");
        let code = format!(
            "#![allow(unused, unreachable_code)]\n{PRELUDE}\n#[unsafe(no_mangle)]\npub extern \"C\" fn \
             run_user_code(store: *mut u8) -> *mut u8 {{\nlet mut store = store as usize;\n\
             let cell = std::panic::AssertUnwindSafe(|| {{\n{body}\n}});\n\
             if std::panic::catch_unwind(cell).is_err() {{ \
             println!(\"EVCXR_PANIC_NOTIFICATION\"); }}\nstore as *mut u8 }}\n"
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

    /// The lines evcxr reads, up to the completion, the line that is no text, or the end.
    pub(crate) fn answer(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for line in self.answers.by_ref().split(b'\n') {
            let line = line.unwrap();
            lines.push(String::from_utf8(line).unwrap_or_else(|_| ABANDONED.to_string()));
            if [COMPLETE, ABANDONED].contains(&lines.last().unwrap().as_str()) {
                break;
            }
        }
        lines
    }

    /// Runs a cell that fails; gives what the relay says of it.
    pub(crate) fn fail(&mut self, id: u64, library: &Path) -> CellReport {
        self.relay.begin(Some(id));
        self.run(library);
        assert_eq!(self.answer(), [ABANDONED]);
        let report = self.relay.end(false);
        assert!(report.rolled_back, "{report:?}");
        report
    }

    /// Compiles and runs a cell to its end; gives what it printed.
    pub(crate) fn print(&mut self, body: &str) -> String {
        let library = self.compile(body);
        let told = self.evaluate(99, &library);
        let text = |told: &Told| String::from_utf8_lossy(&told.body).into_owned();
        told.iter().map(text).collect()
    }

    /// Runs a cell to its end; gives what was told meanwhile.
    pub(crate) fn evaluate(&mut self, id: u64, library: &Path) -> Vec<Told> {
        self.heard.told.lock().unwrap().clear();
        self.relay.begin(Some(id));
        self.run(library);
        assert_eq!(self.answer(), [COMPLETE]);
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
