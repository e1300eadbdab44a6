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
    for flag in ["--persist", "--sink", "--device", "--to "] {
        assert!(!page.contains(flag), "{flag}");
    }
}

#[test]
fn a_page_has_usage_arguments_and_examples() {
    let magic = bireme_magics::registry::find("show").unwrap();
    insta::assert_snapshot!(help::page(magic).plain, @"");
    insta::assert_snapshot!(help::list().plain, @"");
}

/// `BIREME_REGENERATE=1 cargo nextest run -p bireme-magics docs_page` writes the page anew.
#[test]
fn the_docs_page_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/magics.md");
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
