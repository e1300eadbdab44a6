//! A Rust host for tests: speaks the protocol of the real one, and does what the first word of a
//! cell says instead of compiling it. Started as `scripted_host host --home DIR`.

use bireme_px::frame;
use bireme_px::host_protocol::{
    Bundle, CellError, CompletionItem, HostEvent, HostRequest, Outcome, OutputStream, Variable,
};
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The variable that is always there.
const KNOWN: &str = "known";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (requests_tx, requests) = channel();
    std::thread::spawn(move || read(&requests_tx));
    send(
        &HostEvent::Ready {
            rustc: "rustc 1.99.0 (scripted)".into(),
            start_ms: 1,
        },
        b"",
    )?;
    let mut codes = Vec::new();
    let mut is_leaving = false;
    while let Ok(request) = requests.recv() {
        match request {
            HostRequest::Eval { id, code, .. } => {
                let code = code.trim();
                let outcome = eval(id, code.trim_end_matches(';'), &codes, &requests)?;
                codes.push(code.to_owned());
                is_leaving = code == "leave";
                let is_lost = code == "crash";
                send(
                    &HostEvent::EvalDone {
                        id,
                        outcome,
                        lost_variables: is_lost.then(|| KNOWN.to_owned()).into_iter().collect(),
                    },
                    b"",
                )?;
            }
            question @ (HostRequest::Complete { .. } | HostRequest::Inspect { .. }) => {
                answer(question)?;
            }
            HostRequest::Variables { id } => {
                let variables = vec![Variable {
                    name: KNOWN.into(),
                    type_name: "i32".into(),
                }];
                send(&HostEvent::Variables { id, variables }, b"")?;
                if is_leaving {
                    return Ok(());
                }
            }
            HostRequest::Interrupt | HostRequest::Input { .. } => {}
            HostRequest::Shutdown => return Ok(()),
        }
    }
    Ok(())
}

fn read(requests: &Sender<HostRequest>) {
    let mut stdin = std::io::stdin();
    while let Ok(Some(frame)) = frame::read_frame(&mut stdin) {
        if requests.send(frame.message).is_err() {
            return;
        }
    }
}

/// Does what a cell says.
fn eval(
    id: u64,
    code: &str,
    codes: &[String],
    requests: &Receiver<HostRequest>,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let (word, rest) = code.split_once(' ').unwrap_or((code, ""));
    match word {
        "print" => print(id, rest)?,
        // What it was given so far.
        "codes" => print(id, &codes.join("|"))?,
        "value" => send(
            &HostEvent::Result {
                id,
                bundle: text(rest),
            },
            b"",
        )?,
        "pid" => print(id, &std::process::id().to_string())?,
        "fail" => return Ok(failed("Panic", rest)),
        // As if the process that runs cells had ended.
        "crash" => {
            return Ok(failed(
                "Crashed",
                "the cell's process was killed by SIGSEGV",
            ));
        }
        "die" => std::process::abort(),
        // Compiles until a file is there.
        "compile" => {
            let progress = HostEvent::Progress {
                id: Some(id),
                text: "compiling".into(),
            };
            send(&progress, b"")?;
            while !Path::new(rest).exists() {
                std::thread::yield_now();
            }
            send(&HostEvent::Started { id }, b"")?;
        }
        "stuck" => loop {
            print(id, "stuck")?;
            std::thread::park();
        },
        // Runs until it is interrupted.
        "wait" => {
            send(&HostEvent::Started { id }, b"")?;
            print(id, "waiting")?;
            loop {
                match requests.recv()? {
                    HostRequest::Interrupt => break,
                    question => answer(question)?,
                }
            }
            return Ok(failed("Cancelled", "the cell was interrupted"));
        }
        _ => {}
    }
    Ok(Outcome::Ok)
}

/// What is typed is answered at any time.
fn answer(question: HostRequest) -> Result<(), Box<dyn std::error::Error>> {
    match question {
        HostRequest::Complete { id, cursor, .. } => {
            let item = CompletionItem {
                text: "push".into(),
                kind: "function".into(),
                label: "fn push".into(),
            };
            let items = vec![item];
            send(
                &HostEvent::Completions {
                    id,
                    start: cursor,
                    end: cursor,
                    items,
                    busy: false,
                },
                b"",
            )?;
        }
        HostRequest::Inspect { id, .. } => {
            send(
                &HostEvent::Inspection {
                    id,
                    bundle: Some(text("documentation")),
                },
                b"",
            )?;
        }
        _ => {}
    }
    Ok(())
}

fn failed(ename: &str, evalue: &str) -> Outcome {
    Outcome::Error(CellError {
        ename: ename.into(),
        evalue: evalue.into(),
        traceback: vec![format!("{ename}: {evalue}")],
    })
}

fn print(id: u64, words: &str) -> Result<(), Box<dyn std::error::Error>> {
    let event = HostEvent::Output {
        id: Some(id),
        stream: OutputStream::Stdout,
    };
    send(&event, format!("{words}\n").as_bytes())
}

fn text(words: &str) -> Bundle {
    let mut bundle = Bundle::default();
    bundle.data.insert("text/plain".into(), words.into());
    bundle
}

fn send(event: &HostEvent, body: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&frame::encode(event, body)?)?;
    stdout.flush()?;
    Ok(())
}
