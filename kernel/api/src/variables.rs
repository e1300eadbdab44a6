//! Where evcxr keeps the variables of cells between them, compiled once: evcxr puts such a module into every cell, which
//! is a tenth of what a small one takes to compile. The Rust host puts this in its place. Names and what they do are
//! evcxr's (`evcxr_internal_runtime.rs`), as far as cells call them.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// A line of output that tells evcxr which variable is of another type now.
pub const VARIABLE_CHANGED_TYPE: &str = "EVCXR_VARIABLE_CHANGED_TYPE:";
/// A line of output that tells evcxr that a `?` has failed.
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

/// Variables by name. Cells that evcxr's own module was compiled with hand theirs over, so it is laid out alike.
#[repr(transparent)]
pub struct VariableStore {
    variables: HashMap<String, Box<dyn Any>>,
}

impl VariableStore {
    /// Keeps a variable.
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        self.put(name, Box::new(value));
    }

    /// Whether a variable can be taken as one of this type. evcxr is told when it is of another one.
    pub fn check_variable<T: 'static>(&self, name: &str) -> bool {
        self.is_of(name, TypeId::of::<T>())
    }

    /// Hands a variable over that [`VariableStore::check_variable`] has found to be of this type.
    ///
    /// # Panics
    /// When there is none, or one of another type.
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast() {
            Ok(value) => *value,
            Err(_) => broken(name),
        }
    }

    /// What all cells share under a name, made when it is first asked for.
    ///
    /// # Panics
    /// When it is of another type.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
        let kept = self.variables.entry(name.to_owned());
        let kept = kept.or_insert_with(|| Box::new(Arc::new(create())));
        match kept.downcast_ref::<Arc<T>>() {
            Some(value) => Arc::clone(value),
            None => broken(name),
        }
    }

    fn put(&mut self, name: &str, value: Box<dyn Any>) {
        self.variables.insert(name.to_owned(), value);
    }

    #[expect(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "evcxr reads what cells print"
    )]
    fn is_of(&self, name: &str, wanted: TypeId) -> bool {
        let is_other = |value: &Box<dyn Any>| (**value).type_id() != wanted;
        let changed = self.variables.get(name).is_some_and(is_other);
        if changed {
            eprintln!("The type of the variable {name} was redefined, so was lost.");
            println!("{VARIABLE_CHANGED_TYPE}{name}");
        }
        !changed
    }

    fn take(&mut self, name: &str) -> Box<dyn Any> {
        self.variables.remove(name).unwrap_or_else(|| broken(name))
    }
}

/// An empty one, which belongs to whoever calls.
pub fn create_variable_store() -> *mut VariableStore {
    let variables = HashMap::new();
    Box::into_raw(Box::new(VariableStore { variables }))
}

#[expect(
    clippy::panic,
    reason = "evcxr checks variables before it takes them, and cells may panic"
)]
fn broken(name: &str) -> ! {
    panic!("the variable {name} is not there any more, or of another type")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_store(test: impl FnOnce(&mut VariableStore)) {
        let variables = HashMap::new();
        test(&mut VariableStore { variables });
    }

    #[test]
    fn a_variable_is_taken_as_it_was_put() {
        with_store(|store| {
            store.put_variable("a", vec![1, 2]);
            assert!(store.check_variable::<Vec<i32>>("a"));
            assert_eq!(store.take_variable::<Vec<i32>>("a"), [1, 2]);
            assert!(
                store.check_variable::<u8>("a"),
                "what is not there is not of another type"
            );
        });
    }

    #[test]
    fn a_variable_of_another_type_is_found_out() {
        with_store(|store| {
            store.put_variable("a", 1_u8);
            assert!(!store.check_variable::<i8>("a"));
            assert!(store.check_variable::<u8>("a"));
        });
    }

    #[test]
    fn what_is_shared_is_made_once() {
        with_store(|store| {
            let first = store.lazy_arc("shared", || 1);
            let second = store.lazy_arc("shared", || 2);
            assert!(Arc::ptr_eq(&first, &second));
        });
    }

    #[test]
    #[should_panic(expected = "the variable a is not there any more")]
    fn what_is_not_there_is_not_taken() {
        with_store(|store| drop(store.take_variable::<String>("a")));
    }
}
