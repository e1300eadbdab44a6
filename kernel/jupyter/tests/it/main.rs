//! Behaviour of the framework as clients see it: scripted conversations with the echo kernel.

#[cfg(test)]
#[path = "../../examples/echo/language.rs"]
mod language;

#[cfg(test)]
mod cells;
#[cfg(test)]
mod channels;
#[cfg(test)]
mod client;
#[cfg(test)]
mod files;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod kernel;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod script;
