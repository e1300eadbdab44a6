//! A failing cell costs nothing of what earlier cells made.

use crate::driver::{ABANDONED, COMPLETE, Driver};
use bireme_px::relay::Phase;
use std::time::{Duration, Instant};

const PROMPT: Duration = Duration::from_millis(500);
const WAIT_LIMIT: Duration = Duration::from_secs(10);

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < WAIT_LIMIT, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes that were not reaped are gone too.
fn is_alive(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    status.is_ok_and(|status| !status.contains("State:\tZ"))
}

#[test]
fn a_cell_that_dies_costs_no_variable() {
    let deaths = [
        (
            "unsafe { (8 as *mut u8).write_volatile(0) };",
            "signal: 11 (SIGSEGV)",
        ),
        ("std::process::abort();", "signal: 6 (SIGABRT)"),
        ("std::process::exit(3);", "exit status: 3"),
        (
            "fn down(n: u64) -> u64 { std::hint::black_box(down(n + 1) + 1) } down(0);",
            "signal: 6 (SIGABRT)",
        ),
        // What it has started holds its output open.
        (
            "std::process::Command::new(\"sleep\").arg(\"1000\").spawn().unwrap(); std::process::abort();",
            "signal: 6 (SIGABRT)",
        ),
    ];
    let mut driver = Driver::start();
    assert_eq!(driver.print("store = 41; println!(\"{store}\");"), "41\n");
    for (id, (body, status)) in deaths.into_iter().enumerate() {
        let library = driver.compile(&format!("store = 0; {body}"));
        let begun = Instant::now();
        let report = driver.fail(id as u64, &library);
        assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
        assert_eq!(report.death.as_deref(), Some(status));
        assert_eq!(driver.print("println!(\"{store}\");"), "41\n");
    }
    assert_eq!(driver.print("store += 1; println!(\"{store}\");"), "42\n");
}

#[test]
fn a_panic_undoes_what_its_cell_did() {
    let mut driver = Driver::start();
    driver.print("store = 5;");
    let library = driver.compile("store = 6; panic!(\"no\");");
    let report = driver.fail(1, &library);
    assert_eq!(report.panic.unwrap().message, "no");
    assert_eq!(driver.print("println!(\"{store}\");"), "5\n");
}

#[test]
fn a_loop_is_ended_and_costs_no_variable() {
    let mut driver = Driver::start();
    driver.print("store = 5;");
    let library = driver.compile(
        "store = 6; let child = std::process::Command::new(\"sleep\").arg(\"1000\").spawn().unwrap(); \
         println!(\"{}\", child.id()); loop {}",
    );
    driver.relay.begin(Some(1));
    driver.run(&library);
    until("the cell has started a process", || {
        !driver.told().iter().all(|told| told.body.is_empty())
    });
    assert_eq!(driver.relay.phase(), Phase::Running);
    let told = driver.told();
    let child = told
        .iter()
        .map(|told| String::from_utf8_lossy(&told.body))
        .collect::<String>();
    let child = child.trim().parse().unwrap();
    assert!(is_alive(child));
    let begun = Instant::now();
    // The process is ended once, however often that is asked for while its snapshot takes over.
    until("the snapshot takes over", || {
        driver.relay.interrupt() != Phase::Running
    });
    assert_eq!(driver.answer(), [ABANDONED]);
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());
    let report = driver.relay.end(false);
    assert_eq!(report.death.as_deref(), Some("signal: 9 (SIGKILL)"));
    until("the process the cell started ends", || !is_alive(child));
    assert_eq!(driver.print("println!(\"{store}\");"), "5\n");
}

#[test]
fn with_threads_the_older_snapshot_stays_and_says_what_it_knows() {
    let mut driver = Driver::start();
    driver.print("store = 5;");
    let before = driver.relay.generation();
    driver.print("store = 6; std::thread::spawn(|| loop { std::thread::park() });");
    assert_eq!(driver.relay.generation(), before + 1);
    assert_eq!(driver.relay.snapshot(), before);
    // A panic can be caught here only by the cell itself, and leaves what the cell did.
    let library = driver.compile("store = 7; panic!(\"no\");");
    driver.relay.begin(Some(1));
    driver.run(&library);
    assert_eq!(driver.answer(), ["EVCXR_PANIC_NOTIFICATION", COMPLETE]);
    let report = driver.relay.end(false);
    assert_eq!(report.unsaved.as_deref(), Some("threads are running"));
    assert!(!report.rolled_back);
    assert_eq!(driver.print("println!(\"{store}\");"), "7\n");
    let library = driver.compile("std::process::abort();");
    driver.fail(2, &library);
    assert_eq!(driver.relay.generation(), before);
    assert_eq!(driver.print("println!(\"{store}\");"), "5\n");
}

#[test]
fn evcxr_forgets_what_is_not_there_any_more_before_the_next_cell_runs() {
    let mut driver = Driver::start();
    driver.relay.forget(vec!["gone".to_string()]);
    let library = driver.compile("println!(\"ran\");");
    driver.relay.begin(Some(1));
    driver.run(&library);
    assert_eq!(
        driver.answer(),
        ["EVCXR_VARIABLE_CHANGED_TYPE:gone", COMPLETE]
    );
    driver.run(&library);
    assert_eq!(driver.answer(), [COMPLETE]);
    driver.relay.end(false);
    assert_eq!(
        driver
            .told()
            .iter()
            .filter(|told| told.body == b"ran\n")
            .count(),
        1
    );
}

#[test]
fn no_process_outlives_the_one_evcxr_knows() {
    let mut driver = Driver::start();
    let mut processes = vec![driver.supervisor()];
    for _ in 0..3 {
        let printed = driver.print("println!(\"{}\", std::process::id());");
        processes.push(printed.trim().parse().unwrap());
    }
    // Of those that ran cells only the last one, which is the snapshot now, is left.
    until("older snapshots leave", || {
        !is_alive(processes[1]) && !is_alive(processes[2])
    });
    assert!(is_alive(processes[3]));
    driver.kill();
    until("all end", || {
        !processes.iter().any(|process| is_alive(*process))
    });
}
