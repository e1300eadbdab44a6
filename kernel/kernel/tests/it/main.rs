//! The kernel over real sockets, without a cluster and with a scripted Rust host.
#![cfg(test)]

mod cells;
mod editor;
mod history;
mod notebook;
mod rust_life;
