//! What is interrupted ends at once and costs no variable.

use crate::client::{Cell, Host};
use crate::command_of;
use bireme_px::host_protocol::{HostEvent, Outcome, OutputStream};
use bireme_px::process_tree::ProcessTree;
use std::process::Command;
use std::time::{Duration, Instant};

/// What an interrupt may take until the prompt is back.
const PROMPT_LIMIT: Duration = Duration::from_millis(500);
/// A constant that takes rustc many seconds to compute.
const SLOW_TO_COMPILE: &str = "#[allow(long_running_const_eval)]\nconst SLOW: u64 = { let mut n = 0u64; \
    while n < 4_000_000_000 { n += 1; } n };\nprintln!(\"ran {}\", SLOW);";

/// Interrupts the cell that runs.
pub(crate) fn interrupt(host: &mut Host, id: u64) -> Cell {
    let asked = Instant::now();
    host.interrupt();
    let cell = host.rest_of(id);
    assert!(asked.elapsed() < PROMPT_LIMIT, "{:?}", asked.elapsed());
    assert!(
        matches!(&cell.outcome, Outcome::Error(error) if error.ename == "Cancelled"),
        "{cell:?}"
    );
    cell
}

pub(crate) fn of_a_compile(host: &mut Host) {
    let id = host.ask(SLOW_TO_COMPILE);
    let begun = Instant::now();
    while !compiles_a_cell(host.pid()) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "rustc was never started"
        );
        std::thread::yield_now();
    }
    let cell = interrupt(host, id);
    assert!(cell.lost_variables.is_empty(), "{cell:?}");
    let compiling = HostEvent::Progress {
        id: Some(id),
        text: "compiling".to_string(),
    };
    assert!(cell.told.iter().any(|told| told.event == compiling));
    let cell = host.eval("kept + one()");
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    assert_eq!(cell.result().unwrap().data["text/plain"], "8");
    assert_eq!(
        cell.text(OutputStream::Stdout),
        "",
        "the interrupted cell never ran"
    );
}

fn compiles_a_cell(host: u32) -> bool {
    let below = ProcessTree::read().below(host, &[]);
    let mut commands = below.into_iter().map(command_of);
    commands.any(|command| command.contains("rustc --crate-name ctx "))
}

pub(crate) fn of_a_loop(host: &mut Host) {
    let id = host.ask("println!(\"looping\"); loop {}");
    host.wait_for(|event| matches!(event, HostEvent::Output { .. }));
    let cell = interrupt(host, id);
    assert!(cell.lost_variables.is_empty(), "{cell:?}");
    assert_eq!(host.works("kept + one()"), "8");
}

pub(crate) fn of_cells_that_wait(host: &mut Host) {
    let first = host.ask("loop {}");
    let second = host.ask("println!(\"never\");");
    host.wait_for(|event| matches!(event, HostEvent::Started { .. }));
    host.interrupt();
    let asked = Instant::now();
    let mut open = vec![first, second];
    while !open.is_empty() {
        let told = host.next();
        assert!(!matches!(told.event, HostEvent::Output { .. }), "{told:?}");
        if let HostEvent::EvalDone { id, .. } = told.event {
            open.retain(|one| *one != id);
        }
    }
    assert!(asked.elapsed() < PROMPT_LIMIT, "{:?}", asked.elapsed());
    assert_eq!(host.works("one()"), "1");
}

/// The prompt is back at once even so, and cells run again; the variables could not be kept. Which, is
/// told once: what was in no snapshot at once, the others as soon as it is known.
pub(crate) fn with_a_snapshot_that_does_not_take_over(host: &mut Host) {
    let threaded = "std::thread::spawn(|| loop { std::thread::park() }); let unsaved = 3;";
    assert_eq!(host.works(threaded), "");
    let id = host.ask("println!(\"{}\", std::os::unix::process::parent_id()); loop {}");
    let told = host.wait_for(|event| matches!(event, HostEvent::Output { .. }));
    let snapshot = String::from_utf8(told.body).unwrap();
    let stop = Command::new("kill")
        .args(["-STOP", snapshot.trim()])
        .status();
    assert!(stop.unwrap().success());
    let cell = interrupt(host, id);
    assert_eq!(cell.lost_variables, ["unsaved"]);
    let cell = host.eval("one()");
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    assert_eq!(cell.result().unwrap().data["text/plain"], "1");
    let said = cell.text(OutputStream::Stderr);
    assert!(said.contains("kept") && !said.contains("unsaved"), "{said}");
}
