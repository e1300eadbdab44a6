//! What cells have defined so far, as Rust that stands in front of what is being typed: an analyst
//! that has run no cell knows it from that. Bodies are kept, since types are inferred from them.

use crate::rewrite::{CellItem, RewrittenCell, items};
use bireme_px::host_protocol::Variable;

/// The command that makes evcxr forget everything.
pub(crate) const CLEAR: &str = ":clear";

/// Items, dependencies and variables of the cells that have run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    commands: Vec<String>,
    items: Vec<CellItem>,
    variables: Vec<Variable>,
}

impl Outline {
    /// A cell has run.
    pub fn note(&mut self, cell: &RewrittenCell) {
        if cell.commands.iter().any(|command| command == CLEAR) {
            *self = Self::default();
        }
        for command in &cell.commands {
            if let Some(name) = dependency(command) {
                // The same crate in another version replaces it.
                self.commands.retain(|old| dependency(old) != Some(name));
                self.commands.push(command.clone());
            }
        }
        for item in items(&cell.user_code) {
            // A name that is defined anew replaces the old; `use` and `impl` add up.
            self.items.retain(|old| match (&old.name, &item.name) {
                (Some(old), Some(new)) => old != new,
                _ => old.text != item.text,
            });
            self.items.push(item);
        }
    }

    /// The variables there are now.
    pub fn set_variables(&mut self, variables: Vec<Variable>) {
        self.variables = variables;
    }

    /// The dependencies, a command each.
    pub fn dependencies(&self) -> &[String] {
        &self.commands
    }

    /// The items.
    pub fn items(&self) -> &[CellItem] {
        &self.items
    }

    /// The variables.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Items and variables, in lines of their own.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            text.push_str(&item.text);
            text.push('\n');
        }
        for Variable { name, type_name } in &self.variables {
            text.push_str(&format!("let mut {name}: {type_name} = todo!();\n"));
        }
        text
    }
}

/// The name of the crate that a command brings in.
fn dependency(command: &str) -> Option<&str> {
    let named = command.strip_prefix(":dep")?;
    Some(named.split('=').next()?.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::rewrite;

    fn outline(cells: &[&str]) -> Outline {
        let mut outline = Outline::default();
        for cell in cells {
            outline.note(&rewrite(cell));
        }
        outline
    }

    #[test]
    fn names_are_replaced_and_uses_add_up() {
        let mut outline = outline(&[
            "use std::fmt;\nstruct P { x: i32 }\nlet p = P { x: 1 };",
            "use std::fmt;\nimpl P { fn y(&self) -> i32 { 1 } }\nfn f() {}\nf();",
            ":dep serde = \"1\"\nfn f() -> u8 { 2 }\nlet broken = ;",
            ":dep serde = \"1\"\nfn f() -> u8 { 2 }",
        ]);
        outline.set_variables(vec![Variable {
            name: "p".to_owned(),
            type_name: "P".to_owned(),
        }]);
        assert_eq!(outline.dependencies(), [":dep serde = \"1\""]);
        insta::assert_snapshot!(outline.text(), @r"
        struct P { x: i32 }
        use std::fmt;
        impl P { fn y(&self) -> i32 { 1 } }
        fn f() -> u8 { 2 }
        let mut p: P = todo!();
        ");
    }

    #[test]
    fn clearing_forgets_all() {
        assert_eq!(outline(&["fn f() {}", ":clear"]), Outline::default());
    }
}
