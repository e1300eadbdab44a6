//! The controller touches no record batch: it does not even know what one is.

use std::collections::{BTreeMap, BTreeSet};

/// All packages `package` depends on, by the lock file.
fn closure(package: &str) -> BTreeSet<String> {
    let lock = std::fs::read_to_string("../../Cargo.lock").unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in lock["package"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap().to_string();
        let needs = entry.get("dependencies").and_then(|needs| needs.as_array());
        let needs = needs.into_iter().flatten().filter_map(|need| {
            let need = need.as_str()?.split_whitespace().next()?;
            Some(need.to_string())
        });
        edges.entry(name).or_default().extend(needs);
    }
    let mut seen = BTreeSet::new();
    let mut open = vec![package.to_string()];
    while let Some(name) = open.pop() {
        if seen.insert(name.clone()) {
            open.extend(edges.get(&name).cloned().unwrap_or_default());
        }
    }
    seen
}

#[test]
fn no_arrow_no_query_engine() {
    let all = closure("bireme-controller");
    assert!(all.contains("rusqlite"), "the lock file is read: {all:?}");
    let forbidden: Vec<_> = all
        .iter()
        .filter(|name| {
            ["arrow", "parquet", "datafusion"]
                .iter()
                .any(|root| name.starts_with(root))
        })
        .collect();
    assert!(
        forbidden.is_empty(),
        "the controller depends on {forbidden:?}"
    );
}
