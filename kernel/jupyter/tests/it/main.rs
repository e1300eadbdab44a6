//! Behaviour of the framework as clients see it: scripted conversations with the echo kernel.

#[path = "../../examples/echo/language.rs"]
mod language;

mod cells;
mod channels;
mod client;
mod files;
mod floods;
mod kernel;
mod lifecycle;
mod script;
