//! Crates of `rust.prelude_crates`: compiled once ahead of time, then used by any cell.

use crate::client::Host;
use crate::home;
use bireme_px::host_protocol::{Outcome, PRELUDE_CRATES_ENV};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

/// A crate that counts how often it is compiled.
pub(crate) fn write_crate(directory: &Path, name: &str, answer: i32) {
    if directory.join("src/lib.rs").exists() {
        return;
    }
    std::fs::create_dir_all(directory.join("src")).unwrap();
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n"
    );
    std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    let build = "fn main() {\n\
        use std::io::Write;\n\
        println!(\"cargo::rerun-if-changed=build.rs\");\n\
        let count = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/compiled\");\n\
        let mut count = std::fs::File::options().create(true).append(true).open(count).unwrap();\n\
        count.write_all(std::env::var(\"OPT_LEVEL\").unwrap().as_bytes()).unwrap();\n}";
    std::fs::write(directory.join("build.rs"), build).unwrap();
    let source = format!("pub fn answer() -> i32 {{ {answer} }}");
    std::fs::write(directory.join("src/lib.rs"), source).unwrap();
}

fn compiled(directory: &Path) -> usize {
    std::fs::read(directory.join("compiled")).map_or(0, |count| count.len())
}

fn prepare(home: &Path, crates: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bireme-rust"))
        .args(["prepare", "--home"])
        .arg(home)
        .current_dir(home)
        .env(PRELUDE_CRATES_ENV, crates)
        .output()
        .unwrap()
}

#[test]
fn crates_of_the_prelude_are_compiled_once_for_all_sessions() {
    let home = home();
    // Where what is compiled of them is kept too.
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prelude");
    let (one, two) = (kept.join("one"), kept.join("two"));
    write_crate(&one, "first-crate", 41);
    write_crate(&two, "second", 1);
    let words = |path: &Path| format!("{{ path = {:?} }}", path.to_str().unwrap());
    let crates = format!("first-crate = {}, second = {}", words(&one), words(&two));
    let prepared = prepare(home.path(), &crates);
    assert!(prepared.status.success(), "{prepared:?}");
    assert!(compiled(&one) > 0 && compiled(&two) > 0);
    let before = (compiled(&one), compiled(&two));

    let environment = [(PRELUDE_CRATES_ENV, OsStr::new(&crates))];
    for _ in 0..2 {
        let mut host = Host::start_with(home.path(), &environment);
        assert_eq!(host.works("first_crate::answer()"), "41");
        let both = format!(
            ":dep second = {}\nfirst_crate::answer() + second::answer()",
            words(&two)
        );
        assert_eq!(host.works(&both), "42");
        let table = "Table::new([Column::new(\"n\", vec![second::answer()])])?.num_rows()";
        assert_eq!(host.works(table), "1");
    }
    assert_eq!(
        (compiled(&one), compiled(&two)),
        before,
        "a session compiled it"
    );
    assert!(prepare(home.path(), &crates).status.success());
    assert_eq!(
        (compiled(&one), compiled(&two)),
        before,
        "it was prepared already"
    );
}

#[test]
fn cells_take_what_the_crate_has_compiled_from_its_library() {
    let home = home();
    let mut host = Host::start(home.path());
    host.works("let before = vec![1, 2];");
    host.works("Table::new([Column::new(\"n\", before.clone())])?.num_rows()");
    let look = "{
        let maps = std::fs::read_to_string(\"/proc/self/maps\").unwrap();
        let paths = || maps.lines().filter_map(|line| line.split_whitespace().nth(5));
        let crates: std::collections::BTreeSet<_> = paths().filter(|path| path.contains(\"/libbireme\")).collect();
        let cell = paths().find(|path| path.contains(\"/libcode_\")).and_then(|path| path.split_once(\"/target/\"));
        let source = std::fs::read_to_string(format!(\"{}/src/lib.rs\", cell.unwrap().0)).unwrap();
        let has = |start, end| source.contains(&[start, end].concat());
        (crates.len(), has(\"bireme::\", \"variables as\"), has(\"fn \", \"put_variable\"))
    }";
    assert_eq!(host.works(look), "(1, true, false)");
    assert_eq!(
        host.works("before"),
        "[1, 2]",
        "it was put by a cell that had the code itself"
    );
    let error = host.fails("let of_a_cell: Vec<i32> = vec![]; of_a_cell[3]");
    assert!(error.evalue.contains("index out of bounds"), "{error:?}");
}

#[test]
fn a_crate_that_cannot_be_had_is_told_and_costs_no_cell() {
    let home = home();
    let missing = home.path().join("nowhere");
    let crates = format!("nowhere = {{ path = {:?} }}", missing.to_str().unwrap());
    let prepared = prepare(home.path(), &crates);
    assert!(!prepared.status.success());
    let told = String::from_utf8_lossy(&prepared.stderr).into_owned();
    assert!(
        told.contains("compile nowhere") && told.contains("bireme install"),
        "{told}"
    );
    let prepared = prepare(home.path(), "what is this");
    let told = String::from_utf8_lossy(&prepared.stderr).into_owned();
    assert!(told.contains("\"what is this\" is no crate"), "{told}");

    let environment = [(PRELUDE_CRATES_ENV, OsStr::new(&crates))];
    let mut host = Host::start_with(home.path(), &environment);
    let cell = host.eval("let nowhere = 1; nowhere + 1");
    assert_eq!(cell.outcome, Outcome::Ok, "{cell:?}");
}
