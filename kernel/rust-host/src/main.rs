//! The second binary of Bireme: the one that carries evcxr and rust-analyzer.
//!
//! `host` is the Rust host of a notebook, `cell-host` what evcxr starts to run cells in, `prepare`
//! compiles the `bireme` crate ahead of time; `analyst` and `idle-host` complete while a cell runs. evcxr starts the same program in place of
//! cargo, and cargo as its rustc wrapper; its name and the environment tell.

use bireme_px::host_protocol::WITHOUT_PRELUDE;
use bireme_px::side_channel::SOCKET_ENV;
use bireme_rust_host::RustHostError;
use bireme_rust_host::host::{self, End};
use bireme_rust_host::{analyst, cell_crate, recorded_compile};
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit status when evcxr broke: the kernel starts another host.
const BROKEN: u8 = 70;

fn main() -> ExitCode {
    if let Some(error) = compile() {
        // evcxr shows it as the failure of the cell.
        let _ = writeln!(std::io::stderr(), "error: compile a cell: {error}");
        return ExitCode::FAILURE;
    }
    if std::env::var_os("EVCXR_RUSTC_WRAPPER").is_some() {
        // Does not come back.
        evcxr::runtime_hook();
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .init();
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(End::Asked) => ExitCode::SUCCESS,
        Ok(End::Broken) => ExitCode::from(BROKEN),
        Ok(End::WithoutPrelude) => ExitCode::from(WITHOUT_PRELUDE),
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Becomes a compiler, if that is what this program was started as; comes back only when that cannot be.
fn compile() -> Option<std::io::Error> {
    let own_crate = cell_crate::source_name();
    if std::env::var_os(recorded_compile::RECORD_ENV).is_some() {
        return Some(recorded_compile::run_compiler(&own_crate));
    }
    let name = std::env::args_os().next().unwrap_or_default();
    let is_compile = Path::new(&name).file_name() == Some(OsStr::new(recorded_compile::NAME));
    is_compile.then(|| recorded_compile::run(&own_crate))
}

fn run(arguments: &[OsString]) -> Result<End, RustHostError> {
    let words: Vec<&str> = arguments
        .iter()
        .map(|word| word.to_str().unwrap_or_default())
        .collect();
    match words.as_slice() {
        // What follows are words evcxr passes on to user code.
        ["cell-host", ..] => {
            let socket = std::env::var_os(SOCKET_ENV).map(PathBuf::from);
            let socket = socket.ok_or_else(|| RustHostError::Usage {
                reason: format!("cell-host is started by the Rust host, which sets {SOCKET_ENV}"),
            })?;
            bireme_px::cell_host::run(&socket)?;
            Ok(End::Asked)
        }
        ["host", "--home", home] => host::run(Path::new(home)),
        ["prepare", "--home", home] => host::prepare(Path::new(home)),
        ["analyst"] => host::run_analyst(),
        // As above.
        ["idle-host", ..] => {
            analyst::run_idle_host()?;
            Ok(End::Asked)
        }
        words => Err(RustHostError::Usage {
            reason: format!("`{}` is not a command of bireme-rust", words.join(" ")),
        }),
    }
}
