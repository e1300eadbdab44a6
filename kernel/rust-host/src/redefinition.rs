//! Which items a cell defines otherwise than they were. evcxr knows a type by its name and the names
//! of its fields, so that a value of the old type would be read as one of the new; such variables are
//! forgotten before the cell runs.

use crate::cell_error;
use crate::evaluator::Evaluator;
use crate::rewrite::{CellItem, RewrittenCell, bindings, items, mentions, tokens, uses};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Evaluator {
    /// Variables whose types a cell defines otherwise than they were: nothing could be made of them.
    pub(crate) fn outdated(&mut self, id: u64, cell: &RewrittenCell) -> Vec<String> {
        let outline = self.analyst.outline();
        if outline.items().is_empty() {
            return Vec::new();
        }
        let defined = items(&cell.user_code);
        let types = changed(outline.items(), &defined);
        if types.is_empty() {
            return Vec::new();
        }
        let names = types.join(", ");
        let is_outdated = |(_, type_name): &(&str, &str)| mentions(type_name, &types);
        let variables = self.context.variables_and_types().filter(is_outdated);
        let mut outdated: Vec<String> = variables.map(|(name, _)| name.to_string()).collect();
        outdated.sort();
        drop(outline);
        if outdated.is_empty() || !self.compiles(&cell.code) {
            return Vec::new();
        }
        let bound = bindings(&cell.user_code);
        let missed = outdated.iter().filter(|name| !bound.contains(name));
        let missed: Vec<String> = missed.cloned().collect();
        if !missed.is_empty() {
            let reason = format!("defined anew: {names}; variables of the old that are lost");
            self.warn(id, &reason, &missed);
        }
        outdated
    }

    fn compiles(&mut self, code: &str) -> bool {
        let checked = catch_unwind(AssertUnwindSafe(|| self.context.check(code)));
        let errors = checked.ok().and_then(Result::ok);
        errors.is_some_and(|errors| errors.iter().all(|error| error.level() != "error"))
    }

    /// Makes evcxr forget what the relay was told before a cell runs that may bind the same names: in
    /// that cell it would forget those as well.
    pub(crate) fn forget_now(&mut self) {
        if let Err(error) = self.context.execute("();") {
            let reason = cell_error::describe(&error);
            tracing::warn!(
                reason,
                "variables of types that are defined anew were not forgotten"
            );
        }
    }
}

/// The names of items that are not what they were once these are defined, and of those made of them.
fn changed<'a>(old: &'a [CellItem], new: &[CellItem]) -> Vec<&'a str> {
    let mut changed: Vec<&str> = Vec::new();
    for (name, item) in named(old) {
        let again = new.iter().find(|one| one.name.as_deref() == Some(name));
        if again.is_some_and(|again| !is_same(item, again)) {
            changed.push(name);
        }
    }
    loop {
        let before = changed.len();
        for (name, item) in named(old) {
            if !changed.contains(&name) && !changed.is_empty() && uses(&item.text, &changed) {
                changed.push(name);
            }
        }
        if changed.len() == before {
            return changed;
        }
    }
}

fn named(items: &[CellItem]) -> impl Iterator<Item = (&str, &CellItem)> {
    items
        .iter()
        .filter_map(|item| Some((item.name.as_deref()?, item)))
}

/// Whether both mean the same, however they are laid out and commented.
fn is_same(old: &CellItem, new: &CellItem) -> bool {
    old.text == new.text || tokens(&old.text).is_some_and(|old| tokens(&new.text) == Some(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_of_a_changed_item_changes_too() {
        let old = items(
            "const SIDES: usize = 2;\nstruct Point { x: i32 }\nstruct Line { ends: [Point; SIDES] }\n\
             enum Shape { Line(Line) }\nfn far() -> bool { true }\nstruct Other;",
        );
        let changed = |new: &str| changed(&old, &items(new)).join(" ");
        assert_eq!(changed("struct Point { x: f32 }"), "Point Line Shape");
        assert_eq!(changed("const SIDES: usize = 3;"), "SIDES Line Shape");
        assert_eq!(changed("struct Point {\n    // one\n    x: i32\n}"), "");
        assert_eq!(changed("struct Another; let x = 1;"), "");
    }
}
