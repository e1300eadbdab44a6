//! What a cell is taken for.

use bireme_magics::{Cell, Segment, parse};
use proptest::prelude::*;

/// A cell in short: `M:title(args)|body@line:column`, `R:text@line`, `H:name`.
fn shape(cell: &str) -> String {
    let call = |call: &bireme_magics::Call| {
        let place = format!("{}:{}", call.body.line, call.body.column);
        format!(
            "M{} {:?} @{place} on {}",
            call.title(),
            call.body.text,
            call.line
        )
    };
    match parse(cell) {
        Err(fault) => format!("E {}", fault.message),
        Ok(Cell::Empty) => "empty".into(),
        Ok(Cell::Magic(magic)) => call(&magic),
        Ok(Cell::Segments(segments)) => {
            let parts = segments.iter().map(|segment| match segment {
                Segment::Rust(body) => format!("R {:?} @{}", body.text, body.line),
                Segment::Magic(magic) => call(magic),
                Segment::Help(request) => {
                    let mark = if request.is_certain { "!" } else { "" };
                    format!("H{mark} {} @{}", request.name, request.line)
                }
            });
            parts.collect::<Vec<_>>().join("; ")
        }
    }
}

#[test]
fn cells_are_taken_for_what_they_are() {
    let cases = [
        ("", "empty"),
        (" \n\t\n", "empty"),
        ("%%sql\nSELECT 1", r#"M%%sql "SELECT 1" @2:1 on 1"#),
        (
            "\n\n%%sql v --lazy\nSELECT '\n%x'",
            r#"M%%sql "SELECT '\n%x'" @4:1 on 3"#,
        ),
        (
            "%%sql -- a comment\r\nSELECT 1",
            r#"M%%sql "SELECT 1" @2:1 on 1"#,
        ),
        (
            "%sql SELECT -1 -- it's",
            r#"M%sql "SELECT -1 -- it's" @1:6 on 1"#,
        ),
        ("%sql v << SELECT 1", r#"M%sql "SELECT 1" @1:11 on 1"#),
        (
            "%sql --limit=5 SELECT 'a",
            r#"M%sql "SELECT 'a" @1:16 on 1"#,
        ),
        (
            "let a = 1;\n%engines\nlet b = a\n    % c;",
            r#"R "let a = 1;" @1; M%engines "" @2:9 on 2; R "let b = a\n    % c;" @3"#,
        ),
        ("let x = a\n%time;", r#"R "let x = a\n%time;" @1"#),
        (
            "let s = \"\n%engines\n\";",
            r#"R "let s = \"\n%engines\n\";" @1"#,
        ),
        ("/* \n%engines\n*/", r#"R "/* \n%engines\n*/" @1"#),
        ("fn f() {\n%engines\n}", r#"R "fn f() {\n%engines\n}" @1"#),
        (
            "fn f() {}\n%engines",
            r#"R "fn f() {}" @1; M%engines "" @2:9 on 2"#,
        ),
        ("let x = {5}\n%c;", r#"R "let x = {5}\n%c;" @1"#),
        (
            ":dep rand = \"0.9\"\n%engines",
            r#"R ":dep rand = \"0.9\"" @1; M%engines "" @2:9 on 2"#,
        ),
        (
            "  %param a = 1\n%param b = 2",
            r#"M%param "a = 1" @1:10 on 1; M%param "b = 2" @2:8 on 2"#,
        ),
        (
            "%sql SELECT 'don''t'\nlet x = 1;",
            r#"M%sql "SELECT 'don''t'" @1:6 on 1; R "let x = 1;" @2"#,
        ),
        ("%time -x + --y", r#"M%time "-x + --y" @1:7 on 1"#),
        ("?sql", "H! sql @1"),
        ("??sql", "H! sql @1"),
        ("%sql?", "H! sql @1"),
        ("%%sql?", "H! sql @1"),
        ("?%%sql", "H! sql @1"),
        ("\nais?\n", "H ais @2"),
        ("let x = 1;\nx?", r#"R "let x = 1;\nx?" @1"#),
        ("f(x)?", r#"R "f(x)?" @1"#),
        ("let x = 1;\n%conifg", "E there is no magic %conifg"),
        (
            "let x = 1;\n%%sql\nSELECT 1",
            "E %%sql is not at the start of its cell",
        ),
        ("%", r#"R "%" @1"#),
        ("%%", "E the name of a magic is missing"),
    ];
    for (cell, expected) in cases {
        assert_eq!(shape(cell), expected, "{cell:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_text_is_a_cell_or_a_fault_with_its_place(cell in "\\PC{0,80}") {
        check_total(&cell);
    }

    #[test]
    fn what_looks_like_magics_is_too(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("%%sql"), Just("%sql "), Just("%time "), Just("?"), Just("--limit"), Just(" "),
                Just("\n"), Just("'"), Just("\""), Just("<<"), Just("{{"), Just("}}"), Just("$a"),
                Just("/*"), Just("*/"), Just("r#\""), Just(";"), Just("{"), Just("}"), Just("ä日"),
                Just("=5"), Just("SELECT"), Just("%param "), Just("\\"), Just("\t"), Just("x?"),
            ],
            0..24,
        )
    ) {
        check_total(&pieces.concat());
    }
}

/// No panic, positions inside the cell, and every byte of Rust kept.
fn check_total(cell: &str) {
    let lines = cell.split('\n').count() as u32;
    match parse(cell) {
        Err(fault) => {
            let position = fault.position.expect("a fault of the parser has its place");
            assert!(
                (1..=lines).contains(&position.line),
                "{cell:?}: {position:?}"
            );
            assert!(position.column >= 1 && position.length >= 1);
            let _ = bireme_magics::display::error::render(&fault, cell);
        }
        Ok(Cell::Segments(segments)) => {
            for segment in segments {
                if let Segment::Rust(body) = segment {
                    let normal = cell.replace("\r\n", "\n");
                    assert!(normal.contains(&body.text), "{cell:?}: {body:?}");
                }
            }
        }
        Ok(_) => {}
    }
    for cursor in 0..=cell.chars().count() {
        let _ = bireme_magics::completion::complete(cell, cursor, &Default::default());
        let _ = bireme_magics::completion::inspect(cell, cursor, &Default::default());
    }
    let _ = bireme_magics::completion::is_complete(cell);
}
