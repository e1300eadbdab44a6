//! What derives from the registry, and that it is whole.

use std::collections::HashSet;

use bireme_magics::registry::REGISTRY;
use bireme_magics::{help, parse};

#[test]
fn names_are_unique_and_every_magic_is_told() {
    let mut names = HashSet::new();
    for magic in REGISTRY {
        let spec = magic.spec();
        assert!(names.insert(spec.name), "{} is there twice", spec.name);
        assert!(
            spec.summary.ends_with('.') && !spec.summary.contains('\n'),
            "{}",
            spec.name
        );
        assert!(!spec.examples.is_empty(), "{} has no example", spec.name);
        for flag in spec.flags.iter().filter(|flag| !flag.is_later) {
            assert!(flag.doc.ends_with('.'), "{} --{}", spec.name, flag.name);
        }
    }
}

#[test]
fn every_example_is_a_cell_of_its_magic() {
    for magic in REGISTRY {
        for example in magic.spec().examples {
            let cell = parse(example.cell);
            assert!(cell.is_ok(), "{}: {:?}", example.cell, cell.err());
            let name = magic.spec().name;
            assert!(
                example.cell.trim_start_matches('%').starts_with(name),
                "{}",
                example.cell
            );
        }
    }
}

#[test]
fn flags_of_later_builds_are_no_part_of_help() {
    let page = help::markdown();
    assert!(!page.contains("--device"));
}

#[test]
fn a_page_has_usage_arguments_and_examples() {
    let magic = bireme_magics::registry::find("show").unwrap();
    insta::assert_snapshot!(help::page(magic).plain, @"
    %show
      Runs a view, or looks at a table or file.

    Usage:
      %show NAME [--limit N] [--rows N] [--timeout DURATION]

    Arguments:
      NAME                a view, a table, or a file such as 'data/*.parquet'.
      --limit N           Most rows the result has. (default: none)
      --rows N            Most rows shown. (default: display.rows)
      --timeout DURATION  Longest time it may run. (default: query.timeout)

    Examples:
      # the rows of a view
      %show fast_vessels
      # the first rows of some files
      %show 'data/*.parquet' --limit 100
    ");
    insta::assert_snapshot!(help::list().plain, @"
    %name? shows the page of one
    ┌─────────────────────┬────────────────────────────────────────────────────────────────────────────────┐
    │ magic               ┆ what it does                                                                   │
    ╞═════════════════════╪════════════════════════════════════════════════════════════════════════════════╡
    │ %%sql, %sql         ┆ Runs SQL on the engines and shows the result.                                  │
    │ %show               ┆ Runs a view, or looks at a table or file.                                      │
    │ %persist            ┆ Runs a view and keeps its rows on the engines.                                 │
    │ %scatter            ┆ Makes a frame of files, a view, or a Rust variable.                            │
    │ %gather             ┆ Brings the rows of a frame into a Rust variable.                               │
    │ %frames             ┆ Lists the frames: rows, bytes, tiers, skew, layout.                            │
    │ %drop               ┆ Drops a frame, view or table.                                                  │
    │ %publish            ┆ Lets other notebooks read a frame.                                             │
    │ %memory             ┆ Shows what each engine holds: tiers, operators, frames.                        │
    │ %stats              ┆ Shows the counters of each engine: bytes, times and seconds of every movement. │
    │ %%explain, %explain ┆ Shows the distributed plan of a query or view.                                 │
    │ %engines            ┆ Lists the engines: state, queries, memory, spill, restarts.                    │
    │ %cluster            ┆ Shows the cluster, or the end of a process's log.                              │
    │ %jobs               ┆ Lists the queries that run or wait, of all sessions.                           │
    │ %attach             ┆ Follows a query that runs or waits, to its end.                                │
    │ %cancel             ┆ Ends a query on all engines.                                                   │
    │ %history            ┆ Lists past queries of this session, newest first.                              │
    │ %trace              ┆ Shows or saves what the engines did when.                                      │
    │ %config             ┆ Shows settings, or sets one for this session.                                  │
    │ %param              ┆ Sets a parameter of the notebook, or lists them.                               │
    │ %%time, %time       ┆ Runs code and says how long it took.                                           │
    │ %clear              ┆ Removes what the cell has shown so far.                                        │
    │ %restart            ┆ Forgets the Rust variables; views and tables stay.                             │
    │ %help               ┆ Lists the magics, or shows the page of one.                                    │
    └─────────────────────┴────────────────────────────────────────────────────────────────────────────────┘
    ");
}

/// `BIREME_REGENERATE=1 cargo nextest run -p bireme-magics docs_page` writes the page anew.
#[test]
fn the_docs_page_is_fresh() {
    let path = "../docs/magics.md";
    let page = help::markdown();
    if bireme_settings::environment("BIREME_REGENERATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page,
        "docs/magics.md is stale: run this test with BIREME_REGENERATE=1"
    );
}
