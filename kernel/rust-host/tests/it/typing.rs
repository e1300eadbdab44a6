//! Completions and documentation, between cells and while one runs.

use crate::client::Host;
use bireme_px::host_protocol::{CompletionItem, HostEvent, HostRequest, OutputStream};
use bireme_px::process_tree::ProcessTree;
use std::time::{Duration, Instant};

/// Longest wait for the analyst, which has to start.
const ANALYST_WITHIN: Duration = Duration::from_secs(60);

/// Where the replaced text starts, what could stand there, and whether nothing was looked up.
fn completions(host: &mut Host, code: &str) -> (usize, Vec<CompletionItem>, bool) {
    host.send(&HostRequest::Complete {
        id: 2,
        cursor: code.len(),
        code: code.to_string(),
    });
    let told = host.wait_for(|event| matches!(event, HostEvent::Completions { .. }));
    let HostEvent::Completions {
        items, start, busy, ..
    } = told.event
    else {
        unreachable!("it was waited for");
    };
    (start, items, busy)
}

fn documentation(host: &mut Host, code: &str) -> String {
    host.send(&HostRequest::Inspect {
        id: 3,
        cursor: code.len(),
        code: code.to_string(),
    });
    let inspection = host.wait_for(|event| matches!(event, HostEvent::Inspection { .. }));
    let HostEvent::Inspection { bundle, .. } = inspection.event else {
        unreachable!("it was waited for");
    };
    let bundle = bundle.unwrap_or_else(|| panic!("nothing is known of {code}"));
    bundle.data["text/plain"].as_str().unwrap().to_string()
}

fn has(items: &[CompletionItem], name: &str) -> bool {
    items.iter().any(|item| item.text.starts_with(name))
}

pub(crate) fn questions_are_answered(host: &mut Host) {
    let (start, items, _) = completions(host, "names.pu");
    assert!(has(&items, "push"), "{items:?}");
    assert_eq!(start, 6);
    assert!(documentation(host, "Vec::with_capacity").contains("capacity"));
}

/// Variables and items of earlier cells are known, and the cell is not held up.
pub(crate) fn questions_are_answered_while_a_cell_runs(host: &mut Host) {
    assert_eq!(
        host.works("/// Twice as much.\nfn twice(n: i32) -> i32 { 2 * n }"),
        ""
    );
    let marker = tempfile::NamedTempFile::new().unwrap();
    let path = marker.path().display();
    let cell = format!(
        "println!(\"begun\"); while std::path::Path::new({:?}).exists() \
         {{ std::thread::sleep(std::time::Duration::from_millis(10)); }} println!(\"done\");",
        path.to_string()
    );
    let id = host.ask(&cell);
    host.wait_for(|event| matches!(event, HostEvent::Output { .. }));
    // Nothing but names is known at first.
    let (start, items, _) = completions(host, "let é = 1;\nnam");
    assert_eq!(start, "let é = 1;\n".len());
    assert!(has(&items, "names"), "{items:?}");
    assert!(documentation(host, "names").contains("Vec<String>"));
    methods_are_completed_in_time(host);
    let (_, items, _) = completions(host, "twi");
    assert!(has(&items, "twice"), "{items:?}");
    assert!(documentation(host, "twice").contains("Twice as much."));
    // An analyst that ends is replaced.
    let all = ProcessTree::read().below(host.pid(), &[]);
    let is_analyst = |process: &u32| crate::command_of(*process).contains("analyst");
    let analyst = all.into_iter().find(is_analyst).expect("an analyst");
    let kill = std::process::Command::new("kill")
        .args(["-9", &analyst.to_string()])
        .status();
    assert!(kill.unwrap().success());
    methods_are_completed_in_time(host);
    marker.close().unwrap();
    let ended = host.rest_of(id);
    assert_eq!(ended.text(OutputStream::Stdout), "done\n");
}

fn methods_are_completed_in_time(host: &mut Host) {
    let begun = Instant::now();
    let items = loop {
        let (start, items, busy) = completions(host, "let é = 1;\nnames.pu");
        if !items.is_empty() {
            assert_eq!(start, "let é = 1;\nnames.".len());
            break items;
        }
        assert!(begun.elapsed() < ANALYST_WITHIN, "busy: {busy}");
    };
    assert!(has(&items, "push"), "{items:?}");
}
