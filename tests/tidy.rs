//! The style that can be checked by reading files; each finding is one line `file:line: what`.
//!
//! Lengths apply to code outside of tests. rustfmt puts the closing brace of an item under its
//! first word, so items are found by their indentation.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bireme_tests::repository;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Who may depend on whom among our crates; an edge is added here together with its reason in
/// ARCHITECTURE.md. Crates come in the order of `members` in Cargo.toml.
const EDGES: &[(&str, &[&str])] = &[
    ("bireme-protocol", &[]),
    ("bireme-settings", &[]),
    ("bireme-workloads", &[]),
    ("bireme-shared-memory", &[]),
    (
        "bireme-frames",
        &["bireme-protocol", "bireme-settings", "bireme-shared-memory"],
    ),
    (
        "bireme-collectives",
        &[
            "bireme-protocol",
            "bireme-settings",
            "bireme-frames",
            "bireme-shared-memory",
        ],
    ),
    (
        "bireme-operators",
        &[
            "bireme-protocol",
            "bireme-settings",
            "bireme-frames",
            "bireme-collectives",
        ],
    ),
    (
        "bireme-px",
        &[
            "bireme-protocol",
            "bireme-settings",
            "bireme-frames",
            "bireme-collectives",
        ],
    ),
    (
        "bireme-engine",
        &[
            "bireme-protocol",
            "bireme-settings",
            "bireme-frames",
            "bireme-collectives",
            "bireme-operators",
            "bireme-px",
            "bireme-shared-memory",
        ],
    ),
    ("bireme-client", &["bireme-protocol", "bireme-settings"]),
    ("bireme-launchers", &["bireme-protocol", "bireme-settings"]),
    ("bireme-controller", &["bireme-protocol", "bireme-settings"]),
    (
        "bireme-magics",
        &["bireme-protocol", "bireme-settings", "bireme-client"],
    ),
    ("bireme-jupyter", &[]),
    ("bireme", &[]),
    (
        "bireme-kernel",
        &[
            "bireme",
            "bireme-protocol",
            "bireme-settings",
            "bireme-shared-memory",
            "bireme-px",
            "bireme-client",
            "bireme-launchers",
            "bireme-magics",
            "bireme-jupyter",
        ],
    ),
    (
        "bireme-rust-host",
        &["bireme-protocol", "bireme-settings", "bireme-px"],
    ),
    (
        "bireme-cli",
        &[
            "bireme-protocol",
            "bireme-settings",
            "bireme-px",
            "bireme-workloads",
            "bireme-engine",
            "bireme-client",
            "bireme-launchers",
            "bireme-controller",
            "bireme-magics",
            "bireme-jupyter",
            "bireme-kernel",
        ],
    ),
    ("bireme-tests", &["bireme-settings"]),
];

/// What a cell links against compiles with the cell, so it must stay small.
const CELL_CRATE: &str = "bireme";
const CELL_CRATE_DEPENDENCIES: [&str; 4] =
    ["arrow-array", "arrow-buffer", "arrow-data", "arrow-schema"];

/// Words that no file may hold, and why. They are written in two parts, so that this file passes.
const BANNED: &[(&str, &str, &str)] = &[
    ("TO", "DO", "finish it, or open an issue"),
    ("FIX", "ME", "fix it, or open an issue"),
    ("#[al", "low(", "use #[expect(lint, reason = \"...\")]"),
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("unimple", "mented!(", "finish it"),
];

/// Where a word is right all the same: path, word and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "kernel/rust-host/",
    concat!("#[al", "low("),
    "code for cells, which are compiled without our lints",
)];

/// Text that is pasted into cells, where inner documentation is not allowed.
const PASTED: &str = "kernel/rust-host/prelude/";

/// Files whose text is not ours to choose.
const GENERATED: [&str; 1] = ["Cargo.lock"];

/// A file that git tracks.
struct Tracked {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

impl Tracked {
    fn has_extension(&self, extension: &str) -> bool {
        self.path
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// Whether all of the file is test code.
    fn is_test(&self) -> bool {
        let is_test_folder = |part: &str| ["tests", "benches", "examples"].contains(&part);
        self.path
            .iter()
            .filter_map(|part| part.to_str())
            .any(is_test_folder)
    }

    fn finding(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path.display())
    }
}

fn tracked_files() -> Vec<Tracked> {
    let listing = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(repository())
        .output();
    let listing = listing.unwrap();
    assert!(
        listing.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listing.stderr)
    );
    let names = String::from_utf8(listing.stdout).unwrap();
    names
        .split_terminator('\0')
        .filter(|name| !GENERATED.contains(name))
        .filter_map(|name| {
            // A file that is deleted but not yet committed, or not text, has no style.
            let text = fs::read_to_string(repository().join(name)).ok()?;
            Some(Tracked {
                path: PathBuf::from(name),
                text,
            })
        })
        .collect()
}

fn rust_files() -> Vec<Tracked> {
    let mut files = tracked_files();
    files.retain(|file| file.has_extension("rs"));
    assert!(files.len() > 50, "only {} Rust files found", files.len());
    files
}

fn check(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<_> = findings.into_iter().collect();
    assert!(
        findings.is_empty(),
        "{} findings:\n{}",
        findings.len(),
        findings.join("\n")
    );
}

/// The lines before the file's own test modules.
fn production_lines(text: &str) -> Vec<&str> {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .collect()
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = rust_files();
    check(
        files
            .iter()
            .filter(|file| !file.path.starts_with(PASTED))
            .filter(|file| !file.text.starts_with("//! "))
            .map(|file| file.finding(1, "opens without `//!`")),
    );
}

#[test]
fn files_are_short() {
    check(
        rust_files()
            .iter()
            .filter(|file| !file.is_test())
            .filter_map(|file| {
                let lines = production_lines(&file.text).len();
                (lines > FILE_LINES_MAX).then(|| {
                    file.finding(lines, format!("{lines} lines, at most {FILE_LINES_MAX}"))
                })
            }),
    );
}

#[test]
fn functions_are_short() {
    let files = rust_files();
    check(
        files
            .iter()
            .filter(|file| !file.is_test())
            .flat_map(|file| {
                let lines = production_lines(&file.text);
                long_functions(&lines)
                    .map(|(line, length)| {
                        file.finding(
                            line,
                            format!("a function of {length} lines, at most {FUNCTION_LINES_MAX}"),
                        )
                    })
                    .collect::<Vec<_>>()
            }),
    );
}

fn long_functions<'a>(lines: &'a [&str]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let starts = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| starts_function(line));
    starts.filter_map(|(start, line)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let length = 1 + lines[start..].iter().position(|line| *line == closing)?;
        let has_body = lines[start..start + length].iter().all(|line| {
            // A declaration in a trait ends with its signature.
            !(line.starts_with(indent)
                && line.ends_with(';')
                && !line[indent.len()..].starts_with(' '))
        });
        (has_body && length > FUNCTION_LINES_MAX).then_some((start + 1, length))
    })
}

fn starts_function(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut words = words.skip_while(|word| {
        word.starts_with("pub") || ["async", "const", "unsafe", "extern", "\"C\""].contains(word)
    });
    words.next() == Some("fn") && !line.ends_with('}')
}

#[test]
fn no_word_is_banned() {
    let files = tracked_files();
    check(files.iter().flat_map(|file| {
        file.text
            .lines()
            .enumerate()
            .flat_map(move |(number, line)| {
                BANNED.iter().filter_map(move |(head, tail, instead)| {
                    let word = format!("{head}{tail}");
                    let is_excepted = |(path, excepted, _): &(&str, &str, &str)| {
                        file.path.starts_with(path) && word == *excepted
                    };
                    (line.contains(&word) && !EXCEPTIONS.iter().any(is_excepted))
                        .then(|| file.finding(number + 1, format!("`{word}`: {instead}")))
                })
            })
    }));
}

#[test]
fn lines_end_cleanly() {
    let checked = ["md", "py", "rs", "sh", "sql", "toml", "yml", "proto"];
    let files = tracked_files();
    let files = files
        .iter()
        .filter(|file| checked.iter().any(|end| file.has_extension(end)));
    check(files.flat_map(|file| {
        let spaces = file
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.ends_with([' ', '\t', '\r']));
        let mut findings: Vec<_> = spaces
            .map(|(number, _)| file.finding(number + 1, "space at the end of the line"))
            .collect();
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            findings.push(file.finding(
                file.text.lines().count(),
                "no newline at the end of the file",
            ));
        }
        findings
    }));
}

/// `file::test` in the table of traps.
#[test]
fn tests_that_are_told_of_exist() {
    let table = repository().join("tests/traps.md");
    let table = fs::read_to_string(table).unwrap();
    let told: Vec<(&str, &str)> = table
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|code| code.split_once("::"))
        .filter(|(file, _)| file.ends_with(".rs") || file.ends_with(".py"))
        .collect();
    assert!(told.len() > 100, "{}", told.len());
    check(told.into_iter().filter_map(|(file, test)| {
        let text = fs::read_to_string(repository().join(file)).unwrap_or_default();
        let heads = [format!("fn {test}("), format!("def {test}(")];
        let is_there = heads.iter().any(|head| text.contains(head));
        (!is_there).then(|| format!("tests/traps.md: no {file}::{test}"))
    }));
}

#[test]
fn notebooks_are_kept_without_outputs() {
    let files = tracked_files();
    check(
        files
            .iter()
            .filter(|file| file.has_extension("ipynb"))
            .flat_map(|file| {
                let notebook: serde_json::Value = serde_json::from_str(&file.text).unwrap();
                let cells = notebook["cells"].as_array().unwrap().iter().enumerate();
                let code = cells.filter(|(_, cell)| cell["cell_type"] == "code");
                code.filter(|(_, cell)| {
                    cell["outputs"] != serde_json::json!([]) || !cell["execution_count"].is_null()
                })
                .map(|(number, _)| file.finding(1, format!("cell {number} has been executed")))
                .collect::<Vec<_>>()
            }),
    );
}

/// The manifests of our crates, by crate name, in the order of `members`.
fn manifests() -> Vec<(String, PathBuf, toml::Table)> {
    let read = |path: &Path| -> toml::Table {
        fs::read_to_string(repository().join(path))
            .unwrap()
            .parse()
            .unwrap()
    };
    let workspace = read(Path::new("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap().iter();
    members
        .map(|member| {
            let path = Path::new(member.as_str().unwrap()).join("Cargo.toml");
            let manifest = read(&path);
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            (name, path, manifest)
        })
        .collect()
}

fn dependencies<'a>(manifest: &'a toml::Table, kind: &str) -> Vec<(&'a String, &'a toml::Value)> {
    manifest
        .get(kind)
        .and_then(toml::Value::as_table)
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn crates_depend_downward_only() {
    let edges: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let manifests = manifests();
    let order: Vec<_> = manifests.iter().map(|(name, ..)| name.as_str()).collect();
    let declared: Vec<_> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        order, declared,
        "the members of Cargo.toml and the table of edges"
    );
    check(
        manifests
            .iter()
            .enumerate()
            .flat_map(|(place, (name, path, manifest))| {
                let ours = dependencies(manifest, "dependencies");
                let ours = ours.into_iter().map(|(dependency, _)| dependency.as_str());
                let ours: Vec<_> = ours
                    .filter(|dependency| declared.contains(dependency))
                    .collect();
                let path = path.display();
                let upward = ours
                    .iter()
                    .filter(|dependency| !order[..place].contains(dependency));
                let upward =
                    upward.map(|dependency| format!("{path}:1: {name} -> {dependency} points up"));
                let unknown = ours
                    .iter()
                    .filter(|dependency| !edges[name.as_str()].contains(dependency));
                let unknown = unknown
                    .map(|dependency| format!("{path}:1: {name} -> {dependency} is a new edge"));
                upward.chain(unknown).collect::<Vec<_>>()
            }),
    );
}

#[test]
fn the_cell_crate_stays_small() {
    let manifests = manifests();
    let (_, path, manifest) = manifests
        .iter()
        .find(|(name, ..)| name == CELL_CRATE)
        .unwrap();
    let dependencies = dependencies(manifest, "dependencies").into_iter();
    let foreign =
        dependencies.filter(|(name, _)| !CELL_CRATE_DEPENDENCIES.contains(&name.as_str()));
    check(foreign.map(|(name, _)| format!("{}:1: cells would compile {name}", path.display())));
}

#[test]
fn versions_and_lints_are_declared_once() {
    check(manifests().iter().flat_map(|(_, path, manifest)| {
        let path = path.display();
        let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
        let own = kinds
            .iter()
            .flat_map(|kind| dependencies(manifest, kind))
            .filter(|(_, value)| {
                value.get("workspace").and_then(toml::Value::as_bool) != Some(true)
            });
        let mut findings: Vec<_> = own
            .map(|(name, _)| format!("{path}:1: {name} has a version of its own"))
            .collect();
        let lints = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        if lints.and_then(toml::Value::as_bool) != Some(true) {
            findings.push(format!("{path}:1: the workspace's lints are not used"));
        }
        findings
    }));
}
