//! Lets a cell keep its variables by the code that the `bireme` crate has compiled. evcxr puts that code
//! into every cell, as a module; here it is taken out of the cell's source again.

/// How evcxr begins and ends the module.
const START: &str = "\nmod evcxr_internal_runtime {\n";
const END: &str = "\n}\n}\n";
/// What stands there instead.
const USE: &str = "\nuse ::bireme::variables as evcxr_internal_runtime;";
/// All that the module offers. The crate offers what cells call of it.
const OFFERED: [&str; 10] = [
    "const VARIABLE_CHANGED_TYPE:",
    "const USER_ERROR_OCCURRED:",
    "struct VariableStore {",
    "fn new()",
    "fn put_variable<T:",
    "fn check_variable<T:",
    "fn take_variable<T:",
    "fn lazy_arc<T:",
    "fn merge(",
    "fn create_variable_store()",
];

/// The source of a cell without the module, line by line where it was; nothing when the module is another one.
pub(crate) fn with_shared_store(source: &str) -> Option<String> {
    let (before, rest) = source.split_once(START)?;
    let (module, after) = rest.split_once(END)?;
    let offered = module
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("pub "));
    let is_known = offered.clone().count() == OFFERED.len()
        && offered
            .zip(OFFERED)
            .all(|(found, known)| found.starts_with(known));
    let lines = [START, module, END].concat().matches('\n').count();
    is_known.then(|| [before, USE, &"\n".repeat(lines - 1), after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = "pub const VARIABLE_CHANGED_TYPE: &str = \"\";\npub const USER_ERROR_OCCURRED: &str = \"\";\n\
        pub struct VariableStore {\n}\nimpl VariableStore {\n    pub fn new() {}\n    pub fn put_variable<T: 'static>() {}\n\
        \n    pub fn check_variable<T: 'static>() {}\n    pub fn take_variable<T: 'static>() {}\n    pub fn lazy_arc<T: 'static>() {}\n    \
        pub fn merge() {}\n}\n\npub fn create_variable_store() -> *mut VariableStore {\n}\n}\n";

    fn cell(module: &str) -> String {
        format!(
            "use a;\nmod evcxr_internal_runtime {{\n{module}#[unsafe(no_mangle)]\nfn cell() {{}}\n"
        )
    }

    #[test]
    fn every_line_of_the_cell_stays_where_it_was() {
        let source = cell(MODULE);
        let shared = with_shared_store(&source).unwrap();
        let place = |text: &str| text.lines().position(|line| line == "fn cell() {}");
        assert_eq!(place(&shared), place(&source));
        assert_eq!(shared.lines().next(), Some("use a;"));
        assert_eq!(
            shared.split_whitespace().collect::<Vec<_>>().join(" "),
            "use a; use ::bireme::variables as evcxr_internal_runtime; #[unsafe(no_mangle)] fn cell() {}"
        );
    }

    #[test]
    fn a_module_that_offers_anything_else_stays() {
        let more = MODULE.replace("pub fn merge", "pub fn split() {}\n    pub fn merge");
        let other = MODULE.replace("pub fn merge", "pub fn unite");
        for module in [more.as_str(), other.as_str(), "}\n}\n", ""] {
            assert_eq!(with_shared_store(&cell(module)), None, "{module}");
        }
    }
}
