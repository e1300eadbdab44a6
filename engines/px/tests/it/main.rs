//! A cell host and its relay, driven the way evcxr drives them, with cells compiled by rustc alone.
#![cfg(test)]

mod driver;
mod snapshots;

use bireme_px::host_protocol::{HostEvent, InputRequest, OutputStream};
use bireme_px::relay::Phase;
use driver::{ABANDONED, Driver, Told};
use std::time::{Duration, Instant};

/// Everything a stream got, in order.
fn written(told: &[Told], wanted: OutputStream) -> Vec<u8> {
    let parts = told.iter().filter_map(|told| match &told.event {
        HostEvent::Output { stream, .. } if *stream == wanted => Some(told.body.as_slice()),
        _ => None,
    });
    parts.collect::<Vec<_>>().concat()
}

fn texts(told: &[Told]) -> Vec<String> {
    let text = |told: &Told| match &told.event {
        HostEvent::Output { .. } => {
            format!("out {}", String::from_utf8_lossy(&told.body).trim_end())
        }
        HostEvent::Display { bundle, .. } => format!("display {}", bundle.data["text/plain"]),
        HostEvent::Result { bundle, .. } => format!("result {}", bundle.data["text/plain"]),
        HostEvent::Started { .. } => "started".to_string(),
        other => format!("{other:?}"),
    };
    told.iter().map(text).collect()
}

#[test]
fn output_arrives_live_and_evcxr_sees_only_its_own_lines() {
    let mut driver = Driver::start();
    let library = driver.compile(
        r#"print!("half"); std::thread::sleep(std::time::Duration::from_secs(2)); println!(" done");"#,
    );
    driver.relay.begin(Some(1));
    let begun = Instant::now();
    driver.run(&library);
    driver.wait_for(|told| written(told, OutputStream::Stdout) == b"half");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(driver.relay.phase(), Phase::Running);
    assert_eq!(driver.answer(), ["EVCXR_EXECUTION_COMPLETE"]);
    assert_eq!(
        written(&driver.told(), OutputStream::Stdout),
        b"half done\n"
    );
}

#[test]
fn any_bytes_arrive_whole_and_displays_stay_in_order() {
    let mut driver = Driver::start();
    let library = driver.compile(
        r#"
        use std::io::Write;
        let show = |text: &str| println!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
        println!("one");
        show("first");
        std::io::stdout().write_all(b"\xff\xfe EVCXR_").unwrap();
        show("second");
        show("third");
        crate::__bireme_tail!(1 + 1);
        print!("no newline");
        "#,
    );
    let told = driver.evaluate(1, &library);
    let expected = [
        "started",
        "out one",
        "display \"first\"",
        "out \u{fffd}\u{fffd} EVCXR_",
        "display \"second\"",
        "display \"third\"",
        "result \"2\"",
        "out no newline",
    ];
    assert_eq!(texts(&told), expected);
    let bytes = written(&told, OutputStream::Stdout);
    assert!(bytes.windows(2).any(|pair| pair == b"\xff\xfe"));
}

#[test]
fn a_panic_is_told_apart_from_output() {
    let mut driver = Driver::start();
    let library =
        driver.compile("println!(\"before\"); let nothing: Option<u8> = None; nothing.unwrap();");
    let report = driver.fail(1, &library);
    assert!(report.panicked && report.death.is_none());
    let panic = report.panic.unwrap();
    assert!(panic.message.contains("`None` value"), "{panic:?}");
    assert!(panic.line > 0 && panic.file.ends_with(".rs"), "{panic:?}");
    assert_eq!(written(&driver.told(), OutputStream::Stderr), b"");
    let library = driver.compile("println!(\"after\");");
    let told = driver.evaluate(2, &library);
    assert_eq!(written(&told, OutputStream::Stdout), b"after\n");
}

#[test]
fn what_a_cell_prints_never_ends_it() {
    let mut driver = Driver::start();
    let lines = "EVCXR_PANIC_NOTIFICATION\nEVCXR_ERROR_OCCURRED\nEVCXR_VARIABLE_CHANGED_TYPE:x\n";
    let text = format!("before\n{lines}after\n");
    let library = driver.compile(&format!("print!({text:?});"));
    let told = driver.evaluate(1, &library);
    assert_eq!(written(&told, OutputStream::Stdout), text.as_bytes());
    // Only the last line could be the end.
    let twice = "EVCXR_PANIC_NOTIFICATION\n".repeat(2);
    let library = driver.compile(&format!("print!({twice:?}); println!();"));
    let told = driver.evaluate(4, &library);
    assert_eq!(
        written(&told, OutputStream::Stdout),
        format!("{twice}\n").as_bytes()
    );
    let library = driver.compile(&format!("print!({lines:?}); std::process::abort();"));
    let report = driver.fail(2, &library);
    assert_eq!(report.death.unwrap(), "signal: 6 (SIGABRT)");
    assert!(written(&driver.told(), OutputStream::Stdout).ends_with(lines.as_bytes()));
    // What a thread prints meanwhile hides no panic.
    let library = driver.compile(
        r#"
        let (send, receive) = std::sync::mpsc::channel::<()>();
        std::panic::set_hook({
            let hook = std::panic::take_hook();
            let send = std::sync::Mutex::new(Some(send));
            Box::new(move |panic| { hook(panic); *send.lock().unwrap() = None; })
        });
        std::thread::spawn(move || {
            let _ = receive.recv();
            for _ in 0..1000 { println!("meanwhile"); }
        });
        panic!("no");
        "#,
    );
    let report = driver.fail(3, &library);
    assert!(report.panicked);
    assert_eq!(report.panic.unwrap().message, "no");
}

#[test]
fn a_caught_panic_and_one_of_a_thread_are_only_text() {
    let mut driver = Driver::start();
    let library = driver.compile(
        r#"
        let _ = std::panic::catch_unwind(|| panic!("caught"));
        let _ = std::thread::spawn(|| panic!("threaded")).join();
        "#,
    );
    driver.relay.begin(Some(1));
    driver.run(&library);
    assert_eq!(driver.answer(), ["EVCXR_EXECUTION_COMPLETE"]);
    let report = driver.relay.end(false);
    assert!(!report.panicked && report.panic.is_none());
    let text = String::from_utf8(written(&driver.told(), OutputStream::Stderr)).unwrap();
    assert!(
        text.contains("caught") && text.contains("threaded"),
        "{text}"
    );
}

#[test]
fn a_cell_that_was_interrupted_while_it_was_compiled_does_not_run() {
    let mut driver = Driver::start();
    let library = driver.compile("println!(\"ran\");");
    driver.relay.begin(Some(1));
    assert_eq!(driver.relay.interrupt(), Phase::Compiling);
    driver.run(&library);
    assert_eq!(driver.answer(), [ABANDONED]);
    assert!(driver.relay.end(false).skipped);
    assert!(texts(&driver.told()).is_empty());
}

#[test]
fn what_a_dying_cell_printed_is_still_told() {
    let mut driver = Driver::start();
    let library = driver.compile("println!(\"last words\"); std::process::abort();");
    let report = driver.fail(1, &library);
    assert_eq!(report.death.unwrap(), "signal: 6 (SIGABRT)");
    assert_eq!(
        written(&driver.told(), OutputStream::Stdout),
        b"last words\n"
    );
}

#[test]
fn another_cell_host_takes_the_place_of_one_that_died_whole() {
    let mut driver = Driver::start();
    assert_eq!(driver.print("println!(\"one\");"), "one\n");
    driver.kill();
    driver.relay.begin(Some(1));
    assert!(driver.relay.end(true).died);
    driver.restart();
    assert_eq!(driver.print("println!(\"again\");"), "again\n");
}

#[test]
fn a_flood_comes_whole_and_in_few_pieces() {
    const LINES: usize = 100_000;
    let mut driver = Driver::start();
    let library = driver.compile(&format!(
        "for line in 0..{LINES} {{ println!(\"line {{line}}\"); }}"
    ));
    let told = driver.evaluate(1, &library);
    let text = String::from_utf8(written(&told, OutputStream::Stdout)).unwrap();
    assert_eq!(text.lines().count(), LINES);
    assert!(text.ends_with("line 99999\n"));
    assert!(told.len() < LINES / 100, "{} events", told.len());
}

#[test]
fn child_processes_print_and_read_too() {
    let mut driver = Driver::start();
    let library = driver.compile(
        r#"
        let mut own = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped()).spawn().unwrap();
        let script = "read line; echo child of $line; echo error >&2";
        std::process::Command::new("sh").args(["-c", script]).status().unwrap();
        own.kill().unwrap();
        own.wait().unwrap();
        "#,
    );
    driver.relay.begin(Some(1));
    driver.run(&library);
    let is_asked = |told: &[Told]| {
        told.iter()
            .any(|told| matches!(told.event, HostEvent::InputWanted { id: 1, .. }))
    };
    driver.wait_for(is_asked);
    driver.relay.give_input("Ada").unwrap();
    driver.answer();
    driver.relay.end(false);
    let told = driver.told();
    assert_eq!(written(&told, OutputStream::Stdout), b"child of Ada\n");
    assert_eq!(written(&told, OutputStream::Stderr), b"error\n");
}

/// The crate `evcxr_input` prints a line with its prompt; what only looks like one is text.
#[test]
fn a_prompt_is_told_when_a_line_is_read_after_it() {
    let mut driver = Driver::start();
    let library = driver.compile(
        r#"
        println!("EVCXR_INPUT_REQUEST:not asked");
        println!("EVCXR_INPUT_REQUEST_PASSWORD:your key: ");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        println!("{line}EVCXR_INPUT_REQUEST:the end");
        "#,
    );
    driver.relay.begin(Some(1));
    driver.run(&library);
    let wanted = HostEvent::InputWanted {
        id: 1,
        request: InputRequest {
            prompt: "your key: ".into(),
            is_password: true,
        },
    };
    driver.wait_for(|told: &[Told]| told.iter().any(|told| told.event == wanted));
    driver.relay.give_input("swordfish").unwrap();
    driver.answer();
    driver.relay.end(false);
    let written = written(&driver.told(), OutputStream::Stdout);
    let expected = "EVCXR_INPUT_REQUEST:not asked\nswordfish\nEVCXR_INPUT_REQUEST:the end\n";
    assert_eq!(String::from_utf8(written).unwrap(), expected);
}

#[test]
fn a_library_that_cannot_be_loaded_is_told() {
    let mut driver = Driver::start();
    driver.relay.begin(Some(1));
    driver.run(std::path::Path::new("/nowhere/libcode_1.so"));
    assert_eq!(driver.answer(), [ABANDONED]);
    let reason = driver.relay.end(false).load_failure.unwrap();
    assert!(reason.contains("/nowhere/libcode_1.so"), "{reason}");
}
