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
    let dependency = format!(":dep late = {{ path = {:?} }}", late.to_str().unwrap());
    let cell = host.eval(&format!("{dependency}\nlate::answer() + plain"));
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
    let warned = cell.text(OutputStream::Stderr);
    let expected = "warning: a new dependency compiles the types that were defined in cells anew; \
                    variables that are lost: point\n";
    assert!(warned.starts_with(expected), "{warned}");
    assert_eq!(cell.result().expect("a value").data["text/plain"], "42");
    let error = host.fails("point.x");
    assert!(
        error.evalue.contains("cannot find value `point`"),
        "{error:?}"
    );
    // Its source may change, so that cargo looks at it before every cell.
    let source = late.join("src/lib.rs");
    std::fs::write(&source, "pub fn answer() -> i32 { 5 }").unwrap();
    assert_eq!(host.works("late::answer() + plain"), "6");
}
