//! The table of settings. A row here is all it takes: help, completion and docs derive from it.

use crate::value::Kind;

/// Who a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read when the cluster starts; the same for all its sessions.
    Cluster,
    /// May differ per session and change between cells.
    Session,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Dotted name, e.g. `query.max_concurrent`.
    pub key: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// Default, as a person would write it.
    pub default: &'static str,
    /// Who it belongs to.
    pub scope: Scope,
    /// One sentence.
    pub doc: &'static str,
}

const fn row(
    key: &'static str,
    kind: Kind,
    default: &'static str,
    scope: Scope,
    doc: &'static str,
) -> Setting {
    Setting {
        key,
        kind,
        default,
        scope,
        doc,
    }
}

use Scope::{Cluster, Session};

/// Every setting, sorted by key.
pub static TABLE: &[Setting] = &[
    row(
        "cluster.engines",
        Kind::Text,
        "auto",
        Cluster,
        "How many engines to start: a number, or `auto` for one per two CPU cores, at least 2.",
    ),
    row(
        "cluster.idle_timeout",
        Kind::Duration,
        "30m",
        Cluster,
        "The cluster ends when no session asked for anything for this long; 0 = never.",
    ),
    row(
        "cluster.start_timeout",
        Kind::Duration,
        "20s",
        Cluster,
        "Longest wait for a starting cluster.",
    ),
    row(
        "display.columns",
        Kind::Integer { min: 2, max: 100 },
        "12",
        Session,
        "Most columns a shown table has.",
    ),
    row(
        "display.rows",
        Kind::Integer { min: 2, max: 40 },
        "10",
        Session,
        "Most rows a shown table has: half from the head, half from the tail.",
    ),
    row(
        "engine.heartbeat_interval",
        Kind::Duration,
        "250ms",
        Cluster,
        "How often an engine reports.",
    ),
    row(
        "engine.lost_after",
        Kind::Duration,
        "5s",
        Cluster,
        "An engine that reports nothing for this long is lost.",
    ),
    row(
        "engine.threads",
        Kind::Integer { min: 0, max: 1024 },
        "0",
        Cluster,
        "Query threads per engine; 0 = cores divided by engines, at least 1.",
    ),
    row(
        "memory.disk_limit",
        Kind::Memory,
        "100GiB",
        Cluster,
        "Most bytes one engine spills to disk.",
    ),
    row(
        "memory.host_limit",
        Kind::Memory,
        "80%",
        Cluster,
        "Memory of all engines together: a size, or a share of what this process may use (cgroup aware). Engines share it evenly.",
    ),
    row(
        "memory.spill_compression",
        Kind::Choice(&["lz4", "none"]),
        "lz4",
        Session,
        "How rows are compressed on disk: those of sorts, aggregates and joins, and as the cluster has it frames.",
    ),
    row(
        "memory.spill_dir",
        Kind::Text,
        "",
        Cluster,
        "Where engines spill; empty = below BIREME_HOME.",
    ),
    row(
        "progress.after",
        Kind::Duration,
        "400ms",
        Session,
        "A cell that takes longer shows its progress.",
    ),
    row(
        "query.distribute_above",
        Kind::Memory,
        "16MiB",
        Session,
        "A query whose files are smaller in all runs whole on one engine.",
    ),
    row(
        "query.max_concurrent",
        Kind::Integer { min: 1, max: 64 },
        "4",
        Cluster,
        "Queries that run at once; more wait in a queue.",
    ),
    row(
        "query.partitions",
        Kind::Integer { min: 2, max: 256 },
        "4",
        Session,
        "Partitions per engine: a planning number, whatever the cores.",
    ),
    row(
        "query.pushdown_filters",
        Kind::Bool,
        "false",
        Session,
        "Evaluate filters while Parquet is decoded.",
    ),
    row(
        "query.timeout",
        Kind::Duration,
        "0",
        Session,
        "A query that runs longer fails; 0 = no limit.",
    ),
    row(
        "rust.bind_limit",
        Kind::Memory,
        "1GiB",
        Session,
        "Most bytes of rows that `--to` or one `collect()` hands to Rust.",
    ),
    row(
        "rust.memory_limit",
        Kind::Memory,
        "80%",
        Session,
        "Memory of Rust's variables and of the running cell; a cell that needs more fails and costs no variable. Read when Rust starts.",
    ),
    row(
        "rust.prelude_crates",
        Kind::Text,
        "rand = \"0.9\", regex = \"1\", serde = { version = \"1\", features = [\"derive\"] }, serde_json = \"1\"",
        Session,
        "Crates that `bireme install` compiles for Rust cells, written as for `:dep` and separated by commas: `serde_json = \"1\", rand = \"0.9\"`. Every session can use them. Read when Rust starts.",
    ),
    row(
        "rust.start",
        Kind::Choice(&["auto", "lazy", "off"]),
        "auto",
        Session,
        "When the Rust host starts: in the background when the notebook has run Rust before, at the first Rust cell, or never.",
    ),
    row(
        "rust.timeout",
        Kind::Duration,
        "0",
        Session,
        "A Rust cell that runs longer fails, and costs no variable; 0 = no limit. Compiling does not count.",
    ),
    row(
        "session.directory",
        Kind::Text,
        "",
        Session,
        "Where relative paths in statements begin; the client's working directory.",
    ),
    row(
        "session.keep_frames",
        Kind::Duration,
        "24h",
        Cluster,
        "How long frames stay that are not published and whose notebook is closed; 0 = until they are dropped.",
    ),
];

/// Finds a setting by its key.
pub fn find(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

/// The docs page of all settings.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Settings\n\nGenerated from the table in `engines/settings`. Precedence, rising: default, `config.toml` in \
         `BIREME_HOME`, environment (`BIREME_` + the key in capitals, dots as underscores), flag, `%config`.\n\n\
         | key | type | default | scope | what it does |\n|---|---|---|---|---|\n",
    );
    for setting in TABLE {
        let default = match setting.default {
            "" => "(empty)",
            text => text,
        };
        let scope = match setting.scope {
            Scope::Cluster => "cluster",
            Scope::Session => "session",
        };
        let kind = setting.kind.name().replace('|', "\\|");
        page.push_str(&format!(
            "| `{}` | {kind} | `{default}` | {scope} | {} |\n",
            setting.key, setting.doc
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_unique_and_their_defaults_accepted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
        for setting in TABLE {
            assert_eq!(
                setting.kind.reject(setting.default),
                None,
                "{}",
                setting.key
            );
            assert!(setting.doc.ends_with('.'), "{}", setting.key);
        }
    }
}
