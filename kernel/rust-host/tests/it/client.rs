//! A kernel in miniature: starts the real Rust host and speaks its protocol.

use bireme_px::frame::{encode, read_frame};
use bireme_px::host_protocol::{Bundle, CellError, HostEvent, HostRequest, Outcome, OutputStream};
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest a single step may take: a first compile on a busy machine.
const STEP_LIMIT: Duration = Duration::from_secs(300);

/// An event with its body and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) event: HostEvent,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

/// A running Rust host.
pub(crate) struct Host {
    child: Child,
    requests: Option<ChildStdin>,
    events: Receiver<Told>,
    next_id: u64,
}

/// Everything one evaluation told.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) told: Vec<Told>,
    pub(crate) outcome: Outcome,
    pub(crate) lost_variables: Vec<String>,
}

impl Host {
    /// Starts a host and waits until cells can run.
    pub(crate) fn start(home: &Path) -> Host {
        Host::start_with(home, &[])
    }

    /// The same in another environment.
    pub(crate) fn start_with(home: &Path, environment: &[(&str, &OsStr)]) -> Host {
        let mut child = Command::new(env!("CARGO_BIN_EXE_bireme-rust"))
            .args(["host", "--home"])
            .arg(home)
            .current_dir(home)
            // Cargo gives tests a path to Rust's own libraries; a notebook has none.
            .env_remove("LD_LIBRARY_PATH")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take();
        let mut stdout = child.stdout.take().unwrap();
        let (send, events) = channel();
        std::thread::spawn(move || {
            while let Ok(Some(frame)) = read_frame(&mut stdout) {
                let told = Told {
                    event: frame.message,
                    body: frame.body,
                    at: Instant::now(),
                };
                if send.send(told).is_err() {
                    return;
                }
            }
        });
        let mut host = Host {
            child,
            requests,
            events,
            next_id: 0,
        };
        let ready = host
            .wait_for(|event| matches!(event, HostEvent::Ready { .. } | HostEvent::Failed { .. }));
        assert!(matches!(ready.event, HostEvent::Ready { .. }), "{ready:?}");
        host
    }

    pub(crate) fn send(&mut self, request: &HostRequest) {
        let bytes = encode(request, b"").unwrap();
        self.requests.as_mut().unwrap().write_all(&bytes).unwrap();
    }

    pub(crate) fn interrupt(&mut self) {
        self.send(&HostRequest::Interrupt);
    }

    /// Asks for an evaluation; its label is `cell [id]`.
    pub(crate) fn ask(&mut self, code: &str) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.send(&HostRequest::Eval {
            id,
            code: code.to_string(),
            label: format!("cell [{id}]"),
        });
        id
    }

    pub(crate) fn next(&mut self) -> Told {
        self.events
            .recv_timeout(STEP_LIMIT)
            .expect("the Rust host says something")
    }

    /// Waits for an event; those before it are lost.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&HostEvent) -> bool) -> Told {
        loop {
            let told = self.next();
            if wanted(&told.event) {
                return told;
            }
        }
    }

    /// Everything up to the end of an evaluation.
    pub(crate) fn rest_of(&mut self, cell: u64) -> Cell {
        let mut told = Vec::new();
        loop {
            let next = self.next();
            match next.event {
                HostEvent::EvalDone {
                    id,
                    outcome,
                    lost_variables,
                } if id == cell => {
                    return Cell {
                        told,
                        outcome,
                        lost_variables,
                    };
                }
                _ => told.push(next),
            }
        }
    }

    pub(crate) fn eval(&mut self, code: &str) -> Cell {
        let id = self.ask(code);
        self.rest_of(id)
    }

    /// Evaluates a cell that must work; gives its result as text, or its standard output without one.
    pub(crate) fn works(&mut self, code: &str) -> String {
        let cell = self.eval(code);
        assert_eq!(cell.outcome, Outcome::Ok, "{code}\n{:?}", cell.told);
        match cell.result() {
            Some(bundle) => bundle.data["text/plain"].as_str().unwrap().to_string(),
            None => cell.text(OutputStream::Stdout),
        }
    }

    /// Evaluates a cell that must fail.
    pub(crate) fn fails(&mut self, code: &str) -> CellError {
        self.eval(code).error()
    }

    pub(crate) fn variables(&mut self) -> Vec<String> {
        self.send(&HostRequest::Variables { id: 0 });
        let told = self.wait_for(|event| matches!(event, HostEvent::Variables { .. }));
        let HostEvent::Variables { variables, .. } = told.event else {
            unreachable!("it was waited for");
        };
        variables.into_iter().map(|one| one.name).collect()
    }

    /// Closes the host's stdin and waits for it to end.
    pub(crate) fn close(mut self) -> std::process::ExitStatus {
        drop(self.requests.take());
        self.child.wait().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}

impl Cell {
    pub(crate) fn error(self) -> CellError {
        match self.outcome {
            Outcome::Error(error) => error,
            Outcome::Ok => panic!("the cell worked: {:?}", self.told),
        }
    }

    pub(crate) fn bytes(&self, wanted: OutputStream) -> Vec<u8> {
        let parts = self.told.iter().filter_map(|told| match &told.event {
            HostEvent::Output { stream, .. } if *stream == wanted => Some(told.body.as_slice()),
            _ => None,
        });
        parts.collect::<Vec<_>>().concat()
    }

    pub(crate) fn text(&self, wanted: OutputStream) -> String {
        String::from_utf8_lossy(&self.bytes(wanted)).into_owned()
    }

    pub(crate) fn result(&self) -> Option<&Bundle> {
        self.told.iter().find_map(|told| match &told.event {
            HostEvent::Result { bundle, .. } => Some(bundle),
            _ => None,
        })
    }
}
