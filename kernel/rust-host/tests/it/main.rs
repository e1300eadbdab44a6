//! The real Rust host, evcxr and all. Starting evcxr takes seconds, so each test takes one host through many steps.
#![cfg(test)]

mod client;
mod interrupts;
mod prelude;
mod recorded_compile;
mod traps;
mod typing;
mod waiting;

use bireme_px::host_protocol::{CellError, HostEvent, Outcome, OutputStream};
use bireme_px::process_tree::ProcessTree;
use client::Host;
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

/// A home of its own for each test, but for the compiled `bireme` crate: that takes a minute, so it is
/// kept where the tests are built.
pub(crate) fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cell-crate");
    std::fs::create_dir_all(&kept).unwrap();
    std::fs::create_dir(home.path().join("rust")).unwrap();
    std::os::unix::fs::symlink(kept, home.path().join("rust/crate")).unwrap();
    home
}

#[test]
fn cells_compile_run_and_fail_as_they_should() {
    let home = home();
    let mut host = Host::start(home.path());
    variables_and_items_persist(&mut host);
    values_show_themselves(&mut host);
    output_is_live_and_whole(&mut host);
    compiler_errors_are_at_the_users_line(&mut host);
    failures_name_their_line_and_cost_nothing(&mut host);
    waiting::futures_are_waited_for_without_threads(&mut host);
    waiting::standard_input_is_asked_for(&mut host);
    typing::questions_are_answered(&mut host);
    typing::questions_are_answered_while_a_cell_runs(&mut host);
    assert_eq!(host.works(":clear"), "");
    assert_eq!(host.works("async { 6 * 7 }.await"), "42");
    let pid = host.pid();
    assert!(host.close().success());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    let left = std::fs::read_dir(home.path().join("rust/sessions")).unwrap();
    assert_eq!(left.count(), 0, "the session's directory is gone");
}

fn variables_and_items_persist(host: &mut Host) {
    assert_eq!(
        host.works("let x = 20; let mut names = vec![\"a\".to_string()];"),
        ""
    );
    assert_eq!(
        host.works("fn double(n: i32) -> i32 { n * 2 }\nstruct Point { x: i32 }"),
        ""
    );
    assert_eq!(
        host.works("names.push(\"b\".to_string());\ndouble(x) + 2"),
        "42"
    );
    assert_eq!(host.works("let point = Point { x: 3 };"), "");
    assert_eq!(host.works("point.x + names.len() as i32"), "5");
    assert_eq!(host.works("use std::collections::BTreeMap;"), "");
    assert_eq!(host.works("BTreeMap::from([(1, 2)])"), "{1: 2}");
    assert_eq!(host.variables(), ["names", "point", "x"]);
    // What evcxr tells its processes is not for cells and what they start.
    let private = "starts_with(\"EVCXR\") || name.starts_with(\"RUST_BACKTRACE\") \
                   || name.starts_with(\"BIREME_BUILD\")";
    let own = format!("std::env::vars().filter(|(name, _)| name.{private}).count()");
    assert_eq!(host.works(&own), "0");
    let child = format!(
        "String::from_utf8_lossy(&std::process::Command::new(\"env\").output()?.stdout)\
         .lines().filter(|name| name.{private}).count()"
    );
    assert_eq!(host.works(&child), "0");
}

fn values_show_themselves(host: &mut Host) {
    let rich = "struct Rich;\nimpl Rich { pub fn evcxr_display(&self) {\n\
        println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>rich</b>\\nEVCXR_END_CONTENT\");\n\
        println!(\"EVCXR_BEGIN_CONTENT text/plain\\nrich\\nEVCXR_END_CONTENT\"); } }\nRich";
    let cell = host.eval(rich);
    let bundle = cell.result().expect("a result");
    assert_eq!(bundle.data["text/html"], "<b>rich</b>");
    assert_eq!(bundle.data["text/plain"], "rich");
    assert!(
        host.eval("names.clear()").result().is_none(),
        "a unit value is not shown"
    );
    assert!(
        host.works("Point { x: 1 }")
            .contains("neither Debug nor evcxr_display")
    );
    let many = host.works("vec![1u8; 10_000_000]");
    assert!(
        many.len() < 70_000 && many.ends_with('…'),
        "{} bytes",
        many.len()
    );
}

fn output_is_live_and_whole(host: &mut Host) {
    let code = "print!(\"half\"); std::thread::sleep(std::time::Duration::from_secs(2)); println!(\" done\");";
    let id = host.ask(code);
    let half = host.wait_for(|event| matches!(event, HostEvent::Output { .. }));
    assert_eq!(half.body, b"half");
    let rest = host.rest_of(id);
    assert_eq!(rest.bytes(OutputStream::Stdout), b" done\n");
    assert!(half.at.elapsed() > Duration::from_millis(1500));
    let bytes =
        host.eval("use std::io::Write; std::io::stdout().write_all(b\"\\xff\\x00ok\").unwrap();");
    assert_eq!(bytes.bytes(OutputStream::Stdout), b"\xff\x00ok");
    let ordered = host.eval(
        "println!(\"before\");\n\
         println!(\"EVCXR_BEGIN_CONTENT text/plain\\nshown\\nEVCXR_END_CONTENT\");\nprintln!(\"after\"); 7",
    );
    let kinds: Vec<&str> = ordered
        .told
        .iter()
        .map(|told| match &told.event {
            HostEvent::Output { .. } => "output",
            HostEvent::Display { .. } => "display",
            HostEvent::Result { .. } => "result",
            _ => "other",
        })
        .filter(|kind| *kind != "other")
        .collect();
    assert_eq!(kinds, ["output", "display", "output", "result"]);
    let flood = host.eval("for line in 0..100_000 { println!(\"line {line}\"); }");
    let text = flood.text(OutputStream::Stdout);
    assert_eq!(text.lines().count(), 100_000);
    assert!(flood.told.len() < 2_000, "{} events", flood.told.len());
    assert_eq!(host.works("x"), "20", "what printed much cost no variable");
}

/// Line and column in the cell, as the report points at them.
pub(crate) fn place(error: &CellError) -> &str {
    let mut places = error.traceback.iter().filter_map(|line| {
        let (_, place) = line.split_once("--> cell [")?;
        place.split_once("]:")
    });
    let (_, place) = places
        .next()
        .unwrap_or_else(|| panic!("no place: {error:?}"));
    place
}

fn compiler_errors_are_at_the_users_line(host: &mut Host) {
    let cell = host.eval("let a = 1;\nlet b = a + nmaes.len();\n");
    assert!(
        cell.told
            .iter()
            .all(|told| !matches!(told.event, HostEvent::Output { .. }))
    );
    let error = cell.error();
    assert_eq!(error.ename, "CompileError");
    assert_eq!(place(&error), "2:13");
    let text = error.traceback.join("\n");
    insta::assert_snapshot!(text, @r"
    error[E0425]: cannot find value `nmaes` in this scope
     --> cell [19]:2:13
      |
    2 | let b = a + nmaes.len();
      |             ^^^^^
    help: a local variable with a similar name exists: `names`
    ");
    let error = host.fails("1;\nnmaes + 1");
    assert_eq!(place(&error), "2:1");
    let error = host.fails("let broken = ;");
    assert_eq!(error.ename, "CompileError");
    assert!(place(&error).starts_with("1:"), "{error:?}");
    let error = host.fails("let number: i32 = \"text\";");
    assert!(error.evalue.contains("mismatched types"), "{error:?}");
    assert_eq!(host.works("x"), "20");
    let error = host.fails("let a: i32 = \"text\";\nlet b: u8 = true;");
    assert!(error.evalue.ends_with("(and one more error)"), "{error:?}");
    let text = error.traceback.join("\n");
    assert!(text.contains("]:1:14") && text.contains("]:2:13"), "{text}");
}

fn failures_name_their_line_and_cost_nothing(host: &mut Host) {
    assert_eq!(host.works("fn third(v: &[i32]) -> i32 {\n    v[2]\n}"), "");
    let cell = host.eval("let kept = 1;\nlet list = vec![1];\nthird(&list)");
    assert_eq!(cell.bytes(OutputStream::Stderr), b"");
    let error = cell.error();
    assert_eq!(error.ename, "Panic");
    assert!(error.evalue.contains("index out of bounds"), "{error:?}");
    let text = error.traceback.join("\n");
    assert!(text.contains("v[2]") && text.contains(":2:5"), "{text}");
    let error = host.fails("let n: Option<u8> = None;\n  n.unwrap();");
    assert_eq!(place(&error), "2:5");
    let cell = host.eval("eprintln!(\"careful\");\nlet n: i32 = \"x\".parse()?;");
    assert_eq!(cell.bytes(OutputStream::Stderr), b"careful\n");
    let error = cell.error();
    assert_eq!(
        (error.ename.as_str(), error.evalue.as_str()),
        ("Error", "invalid digit found in string")
    );
    panics_elsewhere_name_the_users_line(host);
    long_messages_hang_nothing(host);
    assert_eq!(host.works("\"5\".parse::<i32>()? + x"), "25");
    assert_eq!(host.works("point.x"), "3");
}

/// Where a library raised it is told behind the line of the cell that called the library; a value of an earlier cell
/// runs that cell's code.
fn panics_elsewhere_name_the_users_line(host: &mut Host) {
    let error = host.fails("let high = 40;\nlet n = 1;\n  2_i32.pow(high) + n");
    assert_eq!(place(&error), "3:9");
    let last = error.traceback.last().unwrap();
    assert!(
        last.starts_with("note: the panic itself is at library/core/src/num/"),
        "{last}"
    );
    let every = "fn every(n: usize) -> usize {\n    // More than one line.\n    (0..9).step_by(n).count()\n}";
    assert_eq!(host.works(every), "");
    assert!(place(&host.fails("every(0)")).starts_with("3:"));
    let boxed = "let boxed: Box<dyn Fn(&[i32]) -> i32> = Box::new(|v| {\n  v[5]\n});";
    assert_eq!(host.works(boxed), "");
    for _ in 0..2 {
        let error = host.fails("let filler = 1;\n\nboxed(&[filler])");
        assert_eq!(place(&error), "2:3");
        assert!(
            error.traceback.iter().any(|line| line == "2 |   v[5]"),
            "{error:?}"
        );
    }
}

/// Longer than a pipe holds.
fn long_messages_hang_nothing(host: &mut Host) {
    let cells = [
        "panic!(\"{}\", \"long \".repeat(50_000))",
        "Err::<u8, String>(\"long \".repeat(50_000))?;",
    ];
    for cell in cells {
        let told = host.fails(cell).evalue;
        assert!(told.starts_with("long long "), "{told}");
        assert!(told.ends_with(" (184464 more bytes)"), "{cell}");
    }
    let caught = "(0..3_000).filter(|_| std::panic::catch_unwind(|| panic!(\"again and again\")).is_err()).count()";
    assert_eq!(host.works(caught), "3000");
}

#[test]
fn the_prompt_always_comes_back() {
    let home = home();
    let mut host = Host::start(home.path());
    assert_eq!(host.works("let kept = 7; fn one() -> i32 { 1 }"), "");
    interrupts::of_a_compile(&mut host);
    a_cell_that_dies_costs_no_variable(&mut host);
    a_panic_undoes_its_cell(&mut host);
    interrupts::of_a_loop(&mut host);
    threads_are_named_when_they_cost_variables(&mut host);
    interrupts::of_cells_that_wait(&mut host);
    interrupts::with_a_snapshot_that_does_not_take_over(&mut host);
    waiting::lines_of_input_stay_in_their_cell(&mut host);
    a_cell_host_that_ends_whole_is_replaced_and_the_loss_is_told(&mut host);
}

fn a_cell_host_that_ends_whole_is_replaced_and_the_loss_is_told(host: &mut Host) {
    assert_eq!(host.works("let doomed = 1; fn two() -> i32 { 2 }"), "");
    let tree = ProcessTree::read();
    let all = tree.below(host.pid(), &[]);
    let is_child = |process: &u32| {
        all.iter()
            .all(|other| !tree.below(*other, &[]).contains(process))
    };
    // What evcxr knows; all others are below it and end with it.
    let mut children = all.iter().filter(|process| is_child(process));
    let supervisor = children.find(|process| command_of(**process).contains("cell-host"));
    let supervisor = supervisor.unwrap().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-9", &supervisor])
        .status();
    assert!(kill.unwrap().success());
    let cell = host.eval("two()");
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    assert_eq!(cell.result().unwrap().data["text/plain"], "2");
    assert!(
        cell.text(OutputStream::Stderr).contains("doomed"),
        "{cell:?}"
    );
    assert!(
        cell.lost_variables.contains(&"doomed".to_string()),
        "{cell:?}"
    );
}

/// The words of a process's command line; none when it is gone.
pub(crate) fn command_of(process: u32) -> String {
    let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}

fn a_cell_that_dies_costs_no_variable(host: &mut Host) {
    let cell = host.eval(
        "let kept = 8; println!(\"last words\"); unsafe { std::ptr::null_mut::<u8>().write_volatile(1) }",
    );
    assert_eq!(cell.text(OutputStream::Stdout), "last words\n");
    assert!(cell.lost_variables.is_empty(), "{cell:?}");
    let error = cell.error();
    assert_eq!(error.ename, "Crashed");
    assert!(error.evalue.contains("SIG"), "{error:?}");
    assert!(
        error.traceback.join("\n").contains("are as they were"),
        "{error:?}"
    );
    assert_eq!(
        host.works("kept + one()"),
        "8",
        "variables and items are still there"
    );
    let cell = host.eval("drop(kept); std::process::exit(3)");
    assert!(cell.lost_variables.is_empty(), "{cell:?}");
    let error = cell.error();
    assert_eq!(error.ename, "Exited");
    assert!(error.evalue.contains("exit status 3"), "{error:?}");
    assert_eq!(host.works("kept"), "7");
}

fn a_panic_undoes_its_cell(host: &mut Host) {
    assert_eq!(host.works("let mut list = vec![1, 2];"), "");
    let cell = host.eval("list.push(3); let moved = list; let fresh = 1; panic!(\"no\");");
    assert_eq!(cell.error().evalue, "no");
    assert_eq!(host.works("list.len()"), "2");
    let error = host.fails("fresh");
    assert!(
        error.evalue.contains("cannot find value `fresh`"),
        "{error:?}"
    );
}

fn threads_are_named_when_they_cost_variables(host: &mut Host) {
    let threaded = "std::thread::spawn(|| loop { std::thread::park() }); let unsaved = 2;";
    assert_eq!(host.works(threaded), "");
    assert_eq!(host.works("unsaved + kept"), "9");
    let cell = host.eval("std::process::abort()");
    assert_eq!(cell.lost_variables, ["unsaved"]);
    let text = cell.error().traceback.join("\n");
    assert!(
        text.contains("variables lost: unsaved") && text.contains("threads are running"),
        "{text}"
    );
    // Neither a command nor a cell that does not compile brings it back to evcxr's mind.
    host.eval(":vars");
    host.fails("let wrong: i32 = \"text\";");
    let error = host.fails("unsaved");
    assert!(
        error.evalue.contains("cannot find value `unsaved`"),
        "{error:?}"
    );
    assert_eq!(host.works("kept"), "7");
    assert_eq!(host.works("list.len()"), "2");
}

#[test]
fn tables_of_the_bireme_crate_show_themselves() {
    let home = home();
    let mut host = Host::start(home.path());
    assert_eq!(
        host.works("1 + 1"),
        "2",
        "a plain cell does not wait for the crate"
    );
    let named = host.eval("println!(\"Table 1\"); // the first Table");
    assert_eq!(named.text(OutputStream::Stdout), "Table 1\n");
    assert!(
        named.told.iter().all(|told| !told_of_crate(&told.event)),
        "nor does one that only talks of tables: {named:?}"
    );
    let cell = host.eval("let table = Table::new([Column::new(\"n\", vec![1, 2, 3])])?;\ntable");
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    let bundle = cell.result().expect("a result");
    insta::assert_snapshot!(bundle.data["text/plain"].as_str().unwrap(), @r"
    shape: (3, 1)
    ┌─────┐
    │   n │
    │ i32 │
    ╞═════╡
    │   1 │
    │   2 │
    │   3 │
    └─────┘
    ");
    assert!(
        bundle.data["text/html"]
            .as_str()
            .unwrap()
            .contains("<table")
    );
    assert_eq!(host.works("table.num_rows()"), "3");
    let cell = host.eval("table.head(1).display(); println!(\"after\");");
    let outputs = |event: &HostEvent| {
        matches!(
            event,
            HostEvent::Display { .. } | HostEvent::Output { .. } | HostEvent::Result { .. }
        )
    };
    let first = cell.told.iter().find(|told| outputs(&told.event)).unwrap();
    assert!(
        matches!(first.event, HostEvent::Display { .. }),
        "{first:?}"
    );
    let mut again = Host::start(home.path());
    let begun = Instant::now();
    assert_eq!(
        again.works("Table::new([Column::new(\"a\", [1])])?.num_columns()"),
        "1"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "the crate was compiled again"
    );
}

/// Whether a cell was told to wait for the `bireme` crate.
fn told_of_crate(event: &HostEvent) -> bool {
    matches!(event, HostEvent::Progress { id: Some(_), text } if text.contains("crate"))
}

#[test]
fn cells_find_the_libraries_of_rust_from_any_directory_and_programs_as_the_user_does() {
    // Beside the toolchain, where a path that is relative to a wrong place does not end at the root.
    let beside = env!("CARGO").strip_suffix("/bin/cargo").unwrap();
    let home = tempfile::tempdir_in(Path::new(beside).parent().unwrap()).unwrap();
    let mut host = Host::start_with(home.path(), &[]);
    // What stands on the path of the host for evcxr is not there for cells.
    let path = std::env::var_os("PATH").unwrap();
    assert_eq!(
        host.works("std::env::var_os(\"PATH\").unwrap()"),
        format!("{path:?}")
    );
}

#[test]
fn a_cell_runs_without_the_bireme_crate_when_it_cannot_be_compiled() {
    let home = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    // Offline and without sources, cargo finds no crate to compile.
    let environment = [
        ("CARGO_HOME", empty.path().as_os_str()),
        ("CARGO_NET_OFFLINE", OsStr::new("true")),
    ];
    let mut host = Host::start_with(home.path(), &environment);
    let cell = host.eval("struct Table(u8);\nTable(7).0");
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    assert_eq!(cell.result().unwrap().data["text/plain"], "7");
    let warned = cell.text(OutputStream::Stderr);
    assert!(
        warned.starts_with("warning: the cell runs without the bireme crate"),
        "{warned}"
    );
}
