//! Every setting, once: key, type, unit, default, allowed values and documentation.
//!
//! `%config`, `--help` and the docs page derive from [`TABLE`]. Values come, in rising precedence,
//! from the defaults, `config.toml` in `BIREME_HOME`, the environment, flags and `%config`. This is
//! the only crate that reads the environment; who acts on a setting is elsewhere.

mod home;
mod memory;
mod settings;
mod table;
mod value;

pub use home::Home;
pub use memory::{memory_available, parse_memory_limit};
pub use settings::{Settings, SettingsError, Source};
pub use table::{Scope, Setting, TABLE, find, markdown};
pub use value::{Kind, format_bytes, parse_bytes, parse_duration};

/// Reads an environment variable that is not a setting of ours (`PATH`, `JPY_PARENT_PID`, ...).
pub fn environment(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this crate is where the environment is read"
    )]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
