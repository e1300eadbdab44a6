//! Cells that wait: for futures, and for a line that the user types.

use crate::client::Host;
use crate::interrupts::interrupt;
use crate::{home, place};
use bireme_px::host_protocol::{HostEvent, HostRequest};

pub(crate) fn futures_are_waited_for_without_threads(host: &mut Host) {
    let code = "async fn twice(n: i32) -> Result<i32, String> { Ok(2 * n) }\n\
        let four = twice(2).await?;\nlet text = format!(\"{}\", async { four }.await);";
    assert_eq!(host.works(code), "");
    assert_eq!(
        host.works("text.len() + twice(four).await.unwrap() as usize"),
        "9"
    );
    let error = host.fails("let x = 1;\nasync { if x == 1 { panic!(\"boom\") } }.await;");
    assert_eq!(place(&error), "2:21");
    let error = host.fails("let y = twice(1).await + wrong;");
    assert_eq!(place(&error), "1:26");
    // It ended no snapshot.
    host.fails("std::process::abort()");
    assert_eq!(host.works("four"), "4");
}

pub(crate) fn standard_input_is_asked_for(host: &mut Host) {
    let id = host.ask(
        "let mut both = [String::new(), String::new()];\nfor line in &mut both {\n\
         print!(\"name? \");\nstd::io::stdin().read_line(line)?;\n}\nboth.concat()",
    );
    let mut printed = Vec::new();
    for line in ["Ada", "Zoë"] {
        let wanted = loop {
            let told = host.next();
            match told.event {
                HostEvent::InputWanted { id, .. } => break id,
                HostEvent::Output { .. } => printed.extend(told.body),
                _ => {}
            }
        };
        assert_eq!(wanted, id);
        let line = line.to_string();
        host.send(&HostRequest::Input { line });
    }
    let cell = host.rest_of(id);
    assert_eq!(printed, b"name? name? ");
    let value = &cell.result().expect("a value").data["text/plain"];
    assert_eq!(value, "\"Ada\\nZoë\\n\"");
}

const READ: &str =
    "let mut line = String::new();\nstd::io::stdin().read_line(&mut line)?;\nline.trim().len()";

fn is_asked(host: &mut Host) -> bool {
    let told = host.wait_for(|event| {
        matches!(
            event,
            HostEvent::InputWanted { .. } | HostEvent::EvalDone { .. }
        )
    });
    matches!(told.event, HostEvent::InputWanted { .. })
}

fn answer(host: &mut Host, line: &str) {
    let line = line.to_string();
    host.send(&HostRequest::Input { line });
}

/// What a cell leaves unread, and a question that nobody answers.
pub(crate) fn lines_of_input_stay_in_their_cell(host: &mut Host) {
    let id = host.ask(READ);
    assert!(is_asked(host));
    answer(host, "one\ntwo");
    assert_eq!(
        host.rest_of(id).result().expect("a value").data["text/plain"],
        "7"
    );
    let id = host.ask(READ);
    assert!(is_asked(host), "it got what was left of the line before");
    let cell = interrupt(host, id);
    assert!(cell.lost_variables.is_empty(), "{cell:?}");
    let id = host.ask(READ);
    assert!(is_asked(host));
    answer(host, "three");
    assert_eq!(
        host.rest_of(id).result().expect("a value").data["text/plain"],
        "5"
    );
}

/// The runtime is the same in every cell: what one cell has made another can wait for.
#[test]
fn timers_of_tokio_outlive_their_cell() {
    let home = home();
    let mut host = Host::start(home.path());
    let code = ":dep tokio = { version = \"1\", features = [\"rt\", \"time\"] }\n\
        use std::time::Duration;\ntokio::time::sleep(Duration::from_millis(1)).await;\n\
        let timer: std::pin::Pin<Box<tokio::time::Sleep>> = \
        async { Box::pin(tokio::time::sleep(Duration::from_millis(20))) }.await;";
    assert_eq!(host.works(code), "");
    assert_eq!(host.works("timer.is_elapsed()"), "false");
    assert_eq!(
        host.works("let mut timer = timer; timer.as_mut().await; timer.is_elapsed()"),
        "true"
    );
    // It has no threads, so it ends no snapshot.
    host.fails("std::process::abort()");
    assert_eq!(
        host.works("tokio::time::sleep(Duration::from_millis(1)).await; timer.is_elapsed()"),
        "true"
    );
}
