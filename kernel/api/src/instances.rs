//! Generic code that every cell would compile for itself: how evcxr keeps variables. It is compiled here once,
//! because rustc takes instances from crates that a cell links against, where neither is much optimised.

use std::any::Any;
use std::collections::HashMap;

type Variables = HashMap<String, Box<dyn Any>>;

/// Uses what the store of variables in evcxr's runtime uses of the standard library. Nobody calls it.
pub fn instances(
    name: &str,
    variables: &mut Variables,
    value: Box<dyn Any>,
) -> Option<Box<dyn Any>> {
    let is_known = variables.get(name).is_some();
    let old = variables.insert(name.to_owned(), value);
    let removed = variables.remove(name);
    *variables = HashMap::new();
    old.or(removed).filter(|_| is_known)
}
