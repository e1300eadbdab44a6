//! How a process ended.

use nix::sys::signal::Signal;
use std::fmt;

/// The end of a process, as its parent sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself.
    Code(i32),
    /// A signal ended it.
    Signal(Signal),
    /// It never ran.
    NotStarted,
}

impl Exit {
    /// Whether it ended by itself and without an error.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {} ({signal})", *signal as i32),
            Self::NotStarted => f.write_str("no start"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_names_code_or_signal() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert_eq!(
            Exit::Signal(Signal::SIGKILL).to_string(),
            "signal 9 (SIGKILL)"
        );
    }
}
