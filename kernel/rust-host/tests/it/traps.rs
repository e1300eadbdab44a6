//! What trips others up: output that looks like anything, and dependencies that come late.

use crate::client::Host;
use crate::home;
use crate::prelude::write_crate;
use bireme_px::host_protocol::{Outcome, OutputStream};

/// Compiles an item here, and keeps its text for a cell.
macro_rules! here_and_in_cells {
    ($name:ident, $item:item) => {
        $item
        const $name: &str = stringify!($item);
    };
}

here_and_in_cells! {
    NOISE,
    fn noise(seed: u64) -> Vec<Vec<u8>> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let kinds: [&[u8]; 12] = [
            b"\n", b"\r", b"\r\n", b"", b"\xff\xfe", b"\xe2\x82", b"\xac", "né".as_bytes(), b"\x00\x1b[31m",
            b"EVCXR_EXECUTION_COMPLETE\n", b"EVCXR_END_CONTENT\n", b"a line\n",
        ];
        let count = 1 + next(12);
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push(match next(3) {
                0 => (0..next(200)).map(|_| next(256) as u8).collect(),
                1 => vec![b'x'; next(20_000) as usize],
                _ => kinds[next(12) as usize].to_vec(),
            });
        }
        pieces
    }
}

/// How many cells print noise.
fn cases() -> u64 {
    let count = std::env::var_os("BIREME_OUTPUT_CASES");
    let number = |count: std::ffi::OsString| count.to_str()?.parse().ok();
    count.map_or(25, |count| number(count).expect("a number of cells"))
}

#[test]
fn whatever_a_cell_prints_is_told_and_hangs_nothing() {
    let home = home();
    let mut host = Host::start(home.path());
    let define = format!(
        "use std::io::Write as _;\n{}\nfn shout(seed: u64) -> u64 {{\n\
         for piece in noise(seed) {{ let mut out = std::io::stdout(); out.write_all(&piece).unwrap(); \
         if piece.len() % 2 == 0 {{ out.flush().unwrap(); }} }}\nseed }}",
        NOISE
    );
    assert_eq!(host.works(&define), "");
    for seed in 0..cases() {
        let cell = host.eval(&format!("shout({seed})"));
        assert_eq!(cell.outcome, Outcome::Ok, "{seed}");
        let expected = noise(seed).concat();
        let told = cell.bytes(OutputStream::Stdout);
        assert!(
            told == expected,
            "{seed}: {:?} in place of {:?}",
            text(&told),
            text(&expected)
        );
        let value = &cell.result().expect("a value").data["text/plain"];
        assert_eq!(value, &seed.to_string());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_late_dependency_says_what_it_costs() {
    let home = home();
    let late = home.path().join("late");
    write_crate(&late, "late", 41);
    let mut host = Host::start(home.path());
    assert_eq!(
        host.works("struct Point { x: i32 }\nlet point = Point { x: 1 }; let plain = 1;"),
        ""
    );
    // One that cannot be had costs nothing, nor any time in the cells behind it.
    let error = host.fails(":dep late = { path = \"/nowhere/late\" }");
    assert!(
        error.traceback.join("\n").contains("/nowhere/late"),
        "{error:?}"
    );
    assert_eq!(host.works("point.x + plain"), "2");
    let dependency = format!(":dep late = {{ path = {:?} }}", late.to_str().unwrap());
    let cell = host.eval(&format!("{dependency}\nlate::answer() + plain"));
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    let warned = cell.text(OutputStream::Stderr);
    let expected = "warning: a new dependency compiles the types that were defined in cells anew; \
                    variables that are lost once it is there: point\n";
    assert!(warned.starts_with(expected), "{warned}");
    assert_eq!(cell.result().expect("a value").data["text/plain"], "42");
    let error = host.fails("point.x");
    assert!(
        error.evalue.contains("cannot find value `point`"),
        "{error:?}"
    );
    // The same one again costs nothing, and is no reason to warn.
    assert_eq!(
        host.works("struct Point { x: i32 }\nlet point = Point { x: 5 };"),
        ""
    );
    let cell = host.eval(&format!("{dependency}\nlate::answer() + point.x"));
    assert_eq!(cell.text(OutputStream::Stderr), "");
    assert_eq!(cell.result().expect("a value").data["text/plain"], "46");
    // Cells are not optimised, what they link is.
    let levels = std::fs::read(late.join("compiled")).unwrap();
    assert!(
        !levels.is_empty() && levels.iter().all(|level| *level == b'3'),
        "{levels:?}"
    );
    // Its source may change, so that cargo looks at it before every cell.
    let source = late.join("src/lib.rs");
    std::fs::write(&source, "pub fn answer() -> i32 { 5 }").unwrap();
    assert_eq!(host.works("late::answer() + plain"), "6");
}

#[test]
fn a_type_that_is_defined_anew_costs_its_variables_and_says_which() {
    let home = home();
    let mut host = Host::start(home.path());
    // evcxr itself notices the first change only.
    for (name, old, new) in [
        ("Shape", "side: i32", "side: i32, deep: bool"),
        ("Other", "side: i32", "side: f32"),
    ] {
        let variable = name.to_lowercase();
        let make = format!(
            "struct {name} {{ {old} }}\nstruct Of{name} {{ inner: {name} }}\n\
             let {variable} = {name} {{ side: 2 }}; let of_{variable} = Of{name} {{ inner: {name} {{ side: 3 }} }}; \
             let kept = 1;"
        );
        assert_eq!(host.works(&make), "");
        let cell = host.eval(&format!("struct {name} {{ {new} }}\nkept + 1"));
        assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
        assert_eq!(cell.result().expect("a value").data["text/plain"], "2");
        let told = cell.text(OutputStream::Stderr);
        let expected = format!("variables of the old that are lost: of_{variable}, {variable}\n");
        assert!(told.ends_with(&expected), "{told}");
        let lost = [format!("of_{variable}"), variable.clone()];
        assert!(
            lost.iter().all(|one| cell.lost_variables.contains(one)),
            "{cell:?}"
        );
        let error = host.fails(&format!("{variable}.side"));
        assert!(error.evalue.contains("cannot find value"), "{error:?}");
        assert_eq!(host.works("kept"), "1");
    }
    // Defined as it was, or bound anew, it costs nothing and says nothing.
    let cell = "struct Other { /* as before */ side: f32 }\nlet other = Other { side: 1.5 };";
    assert_eq!(host.works(cell), "");
    assert_eq!(host.works(cell), "");
    let cell = host.eval("struct Other { side: u8 }\nlet other = Other { side: 7 };");
    assert_eq!(cell.text(OutputStream::Stderr), "", "{cell:?}");
    assert_eq!(host.works("other.side"), "7");
}

#[test]
fn what_moved_a_variable_is_told() {
    let home = home();
    let mut host = Host::start(home.path());
    assert_eq!(host.works("let v = vec![1]; let w = 2;"), "");
    assert_eq!(host.works("drop(v);"), "");
    let error = host.fails("v.len()");
    let text = error.traceback.join("\n");
    assert!(text.contains("help: `v` was moved by cell"), "{text}");
    assert_eq!(host.works("let v = 5;"), "");
    assert_eq!(host.works("v + w"), "7");
    // What goes otherwise was not moved.
    assert_eq!(host.works(":clear"), "");
    let error = host.fails("w + 1");
    assert!(
        !error.traceback.join("\n").contains("was moved"),
        "{error:?}"
    );
    assert_eq!(host.works("let v = 5;"), "");
    let error = host.fails("nothing + v");
    assert!(
        !error.traceback.join("\n").contains("was moved"),
        "{error:?}"
    );
}

#[test]
fn a_closure_is_kept_in_a_box_and_statics_begin_anew() {
    let home = home();
    let mut host = Host::start(home.path());
    assert_eq!(host.works("let factor = 3;"), "");
    let error = host.fails("let times = |n: i32| n * 3;");
    assert!(error.evalue.contains("`times` is a closure"), "{error:?}");
    assert!(
        error.traceback.join("\n").contains("Box<dyn Fn"),
        "{error:?}"
    );
    assert_eq!(
        host.works("let times: Box<dyn Fn(i32) -> i32> = Box::new(move |n| n * factor);"),
        ""
    );
    // Its code lies in the library of that cell, which stays though others come and one fails.
    host.fails("std::process::abort()");
    assert_eq!(host.works("fn other() -> i32 { 0 }"), "");
    assert_eq!(host.works("times(14) + other()"), "42");
    // As the guide says: a static is a part of each cell.
    assert_eq!(
        host.works("use std::sync::atomic::{AtomicU32, Ordering};\nstatic COUNT: AtomicU32 = AtomicU32::new(0);"),
        ""
    );
    for _ in 0..2 {
        assert_eq!(host.works("COUNT.fetch_add(1, Ordering::Relaxed)"), "0");
    }
}

#[test]
fn evcxrs_own_cache_of_crates_works() {
    let home = home();
    let late = home.path().join("late");
    write_crate(&late, "late", 41);
    // Otherwise it is the user's.
    let environment = [("XDG_CACHE_HOME", home.path().as_os_str())];
    let mut host = Host::start_with(home.path(), &environment);
    host.works(":cache 100");
    assert_eq!(host.works("20 + 1"), "21");
    let dependency = format!(":dep late = {{ path = {:?} }}", late.to_str().unwrap());
    assert_eq!(
        host.works(&format!("{dependency}\nlate::answer() + 1")),
        "42"
    );
}

#[test]
fn another_optimisation_says_what_it_costs() {
    let home = home();
    let mut host = Host::start(home.path());
    let cell = "struct Point { x: i32 }\nlet point = Point { x: 1 }; let plain = 1;";
    assert_eq!(host.works(cell), "");
    let cell = host.eval(":opt 1\nplain + 1");
    let told = cell.text(OutputStream::Stderr);
    assert!(
        told.starts_with("warning: another optimisation") && told.contains(": point\n"),
        "{told}"
    );
    assert_eq!(host.works("plain"), "1");
}

#[test]
fn cells_run_though_the_home_has_a_space() {
    let kept = home();
    let place = tempfile::tempdir().unwrap();
    let spaced = place.path().join("with space");
    std::fs::create_dir_all(spaced.join("rust")).unwrap();
    let compiled = std::fs::canonicalize(kept.path().join("rust/crate")).unwrap();
    std::os::unix::fs::symlink(compiled, spaced.join("rust/crate")).unwrap();
    let mut host = Host::start(&spaced);
    assert_eq!(host.works("1 + 1"), "2");
    assert_eq!(
        host.works("Table::new([Column::new(\"a\", [1])])?.num_rows()"),
        "1"
    );
}
