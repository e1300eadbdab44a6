//! The second binary of Bireme: the one that carries evcxr and rust-analyzer.
//!
//! `host` is the Rust host of a notebook, `cell-host` what evcxr starts to run cells in, `prepare`
//! compiles the `bireme` crate ahead of time; `analyst` and `idle-host` complete while a cell runs. cargo may call the same program as its rustc wrapper,
//! which is told by the environment.

use bireme_px::side_channel::SOCKET_ENV;
use bireme_rust_host::RustHostError;
use bireme_rust_host::analyst;
use bireme_rust_host::host::{self, End};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The exit status when evcxr broke: the kernel starts another host.
const BROKEN: u8 = 70;

fn main() -> ExitCode {
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
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
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
