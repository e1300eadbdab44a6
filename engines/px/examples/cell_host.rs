//! The cell host as a program of its own, for the tests of this crate; users get it inside
//! `bireme-rust`.

use bireme_px::side_channel::SOCKET_ENV;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let socket = std::env::var_os(SOCKET_ENV).map(PathBuf::from);
    match socket.map(|socket| bireme_px::cell_host::run(&socket)) {
        Some(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
