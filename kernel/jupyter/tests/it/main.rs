//! Behaviour of the framework as clients see it.
