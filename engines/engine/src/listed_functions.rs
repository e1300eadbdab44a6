//! Whether completion proposes the functions that engines have. The list is the magics', which do
//! not depend on DataFusion.

use datafusion::execution::SessionStateBuilder;
use std::collections::BTreeSet;

const LISTED: &str = include_str!("../../../magics/src/completion/functions.txt");
/// The planner of SQL answers to these names, and no function has them.
const PLANNED: [&str; 2] = ["make_map", "unnest"];

/// Every function: its kind, its name and its aliases.
fn registered() -> Vec<(&'static str, Vec<String>)> {
    let state = SessionStateBuilder::new().with_default_features().build();
    let names = |name: &str, aliases: &[String]| {
        let own = std::iter::once(name.to_string());
        own.chain(aliases.iter().cloned()).collect::<Vec<_>>()
    };
    let scalar = state.scalar_functions().values();
    let lambdas = state.higher_order_functions().values();
    let aggregate = state.aggregate_functions().values();
    let window = state.window_functions().values();
    scalar
        .map(|function| ("scalar", names(function.name(), function.aliases())))
        .chain(lambdas.map(|function| ("scalar", names(function.name(), function.aliases()))))
        .chain(aggregate.map(|function| ("aggregate", names(function.name(), function.aliases()))))
        .chain(window.map(|function| ("window", names(function.name(), function.aliases()))))
        .collect()
}

#[test]
fn completion_proposes_the_functions_that_engines_have() {
    let registered = registered();
    let listed: BTreeSet<(&str, &str)> = LISTED
        .lines()
        .filter_map(|line| {
            let (kind, signature) = line.split_once(' ')?;
            let (name, _) = signature.split_once('(')?;
            Some((kind, name))
        })
        .collect();
    let is_registered = |kind: &str, name: &str| {
        let mut of_kind = registered.iter().filter(|(known, _)| *known == kind);
        of_kind.any(|(_, names)| names.iter().any(|known| known == name))
    };
    let unknown: Vec<_> = listed
        .iter()
        .filter(|(kind, name)| !PLANNED.contains(name) && !is_registered(kind, name))
        .collect();
    assert!(unknown.is_empty(), "no engine has these: {unknown:?}");
    // An aggregate that is also a window function is proposed once.
    let listed_names: BTreeSet<&str> = listed.iter().map(|(_, name)| *name).collect();
    let is_listed = |names: &[String]| {
        let mut names = names.iter();
        names.any(|name| listed_names.contains(name.as_str()))
    };
    let missing: Vec<_> = registered
        .iter()
        .filter(|(_, names)| !is_listed(names))
        .collect();
    assert!(missing.is_empty(), "completion lacks these: {missing:?}");
}
