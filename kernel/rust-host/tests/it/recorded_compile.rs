//! What stands in for cargo: it calls the compiler itself while nothing but the cell has changed. cargo
//! and rustc are scripts here, which say how they were called.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MANIFEST: &str = "[package]\nname = \"ctx\"\n[dependencies]\ndep = \"1\"\n";
const LOCK: &str = "[[package]]\nname = \"ctx\"\nversion = \"1.0.0\"\n\n\
    [[package]]\nname = \"dep\"\nversion = \"1.0.0\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
const CARGO: &str = "#!/bin/sh\nprintf x >> calls\nexport MAKEFLAGS='-j --jobserver-auth=3,4' CARGO_PKG_NAME=ctx\n\
    exec $RUSTC_WRAPPER $RUSTC --crate-name ctx --crate-type cdylib -C extra-filename=-12 --out-dir target/deps --extern dep=libdep.rlib\n";
const RUSTC: &str = "#!/bin/sh\necho \"$@\" > compiled\nenv | grep -E '^(CARGO_PKG_NAME|MAKEFLAGS|RUSTC_WRAPPER|BIREME_RECORDED|BIREME_COMPILE|BIREME_BUILD|TOLD)' | sort >> compiled\n\
    test ! -e fails\n";

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            root: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(place.path("cell/.cargo")).unwrap();
        fs::create_dir(place.path("tools")).unwrap();
        symlink(env!("CARGO_BIN_EXE_bireme-rust"), place.path("tools/mold")).unwrap();
        for (name, script) in [("cargo", CARGO), ("rustc", RUSTC)] {
            fs::write(place.path(name), script).unwrap();
            fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (name, text) in [
            ("cell/Cargo.toml", MANIFEST),
            ("cell/Cargo.lock", LOCK),
            ("cell/libdep.rlib", "one"),
        ] {
            fs::write(place.path(name), text).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// As evcxr does it.
    fn build(&self, environment: &[(&str, &str)]) -> Output {
        let mut command = Command::new(self.path("tools/mold"));
        command
            .arg("-run")
            .arg(self.path("cargo"))
            .args([
                "--offline",
                "build",
                "--target",
                "here",
                "--message-format=json",
            ])
            .current_dir(self.path("cell"))
            .env(
                "BIREME_BUILD_PATH",
                self.path("nothing-here").join(":/usr/bin:/bin"),
            )
            .env("CARGO_HOME", self.path("cargo-home"))
            .env("RUSTC", self.path("rustc"))
            .env("EVCXR_EXECUTION_SO_PATH", self.path("library"));
        for name in ["RUSTC_WRAPPER", "MAKEFLAGS", "CARGO_MAKEFLAGS", "MFLAGS"] {
            command.env_remove(name);
        }
        command.envs(environment.iter().copied());
        command.output().unwrap()
    }

    fn builds(&self) {
        let built = self.build(&[]);
        assert!(built.status.success(), "{built:?}");
    }

    fn calls_of_cargo(&self) -> usize {
        fs::read(self.path("cell/calls")).map_or(0, |calls| calls.len())
    }

    fn compiled(&self) -> String {
        fs::read_to_string(self.path("cell/compiled")).unwrap()
    }
}

#[test]
fn the_compiler_is_called_as_cargo_called_it() {
    let place = Place::new();
    place.builds();
    let first = place.compiled();
    assert!(
        first.contains(
            "--extern dep=libdep.rlib -C debuginfo=line-tables-only\nCARGO_PKG_NAME=ctx\nMAKEFLAGS"
        ),
        "{first}"
    );
    fs::remove_file(place.path("cell/compiled")).unwrap();
    let told = || fs::read_to_string(place.path("library")).unwrap();
    assert_eq!(told(), "target/deps/libctx-12.so");
    fs::remove_file(place.path("library")).unwrap();
    place.builds();
    assert_eq!(place.calls_of_cargo(), 1);
    // But for cargo's job server, which is no more.
    let without_jobs: Vec<&str> = first
        .lines()
        .filter(|line| !line.starts_with("MAKEFLAGS"))
        .collect();
    assert_eq!(place.compiled().lines().collect::<Vec<_>>(), without_jobs);
    assert_eq!(told(), "target/deps/libctx-12.so");
}

#[test]
fn a_cell_that_does_not_compile_is_told_by_the_compiler() {
    let place = Place::new();
    place.builds();
    fs::write(place.path("cell/fails"), "").unwrap();
    assert!(!place.build(&[]).status.success());
    fs::remove_file(place.path("cell/fails")).unwrap();
    place.builds();
    assert_eq!(place.calls_of_cargo(), 1);
}

#[test]
fn cargo_is_asked_when_anything_it_goes_by_has_changed() {
    type Change = (&'static str, fn(&Place));
    let changes: [Change; 9] = [
        ("manifest", |place| {
            append(&place.path("cell/Cargo.toml"), "other = \"1\"\n")
        }),
        ("lock file", |place| {
            append(&place.path("cell/Cargo.lock"), "\n")
        }),
        ("settings", |place| {
            append(&place.path("cell/.cargo/config.toml"), "[net]\n")
        }),
        ("settings above", |place| {
            fs::create_dir(place.path(".cargo")).unwrap();
            append(&place.path(".cargo/config.toml"), "[net]\n");
        }),
        ("settings of the user", |place| {
            fs::create_dir(place.path("cargo-home")).unwrap();
            append(&place.path("cargo-home/config.toml"), "[net]\n");
        }),
        ("compiler", |place| append(&place.path("rustc"), "\n")),
        ("crate", |place| {
            append(&place.path("cell/libdep.rlib"), "two")
        }),
        ("no record", |place| {
            fs::remove_file(place.path("cell/recorded-compile")).unwrap()
        }),
        ("half a record", |place| {
            fs::write(place.path("cell/recorded-compile"), "12\0three").unwrap()
        }),
    ];
    for (what, change) in changes {
        let place = Place::new();
        place.builds();
        change(&place);
        place.builds();
        assert_eq!(place.calls_of_cargo(), 2, "{what}");
        place.builds();
        assert_eq!(place.calls_of_cargo(), 2, "{what}");
    }
    let place = Place::new();
    place.builds();
    assert!(place.build(&[("TOLD", "other")]).status.success());
    assert_eq!(place.calls_of_cargo(), 2, "environment");
    assert!(place.compiled().contains("TOLD=other"));
}

#[test]
fn what_cannot_be_told_to_be_unchanged_is_left_to_cargo() {
    type Change = (&'static str, fn(&Place));
    let changes: [Change; 3] = [
        ("a local crate, whose source may change", |place| {
            append(
                &place.path("cell/Cargo.lock"),
                "\n[[package]]\nname = \"mine\"\nversion = \"1.0.0\"\n",
            );
        }),
        ("another bireme than ours", |place| {
            append(
                &place.path("cell/Cargo.lock"),
                "\n[[package]]\nname = \"bireme\"\nversion = \"1.0.0\"\n",
            );
        }),
        ("a wrapper of the user's", |place| {
            append(
                &place.path("cell/.cargo/config.toml"),
                "[build]\nrustc-wrapper = \"x\"\n",
            );
        }),
    ];
    for (what, change) in changes {
        let place = Place::new();
        change(&place);
        place.builds();
        place.builds();
        assert_eq!(place.calls_of_cargo(), 2, "{what}");
    }
}

#[test]
fn a_wrapper_that_is_there_already_stays() {
    let place = Place::new();
    for _ in 0..2 {
        assert!(
            place
                .build(&[("RUSTC_WRAPPER", "/usr/bin/env")])
                .status
                .success()
        );
    }
    assert_eq!(place.calls_of_cargo(), 2);
    assert!(place.compiled().contains("RUSTC_WRAPPER=/usr/bin/env"));
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
