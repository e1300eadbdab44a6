//! The control plane: who is there, what exists, what runs. No record batch passes through it.
//!
//! One event loop ([`event_loop`]) owns all state and never waits: gRPC services and engine calls
//! are tasks that send it messages ([`message`]), one `match` hands each to its handler
//! ([`handlers`]), and what is to be done outside comes back as actions ([`action`]). What lasts is
//! in one SQLite file, written by a thread of its own ([`store`]).
//!
//! Start reading at `message.rs`, then `event_loop.rs`, then the handler of what interests you.

mod action;
mod clock;
mod controller;
mod engine_client;
mod error;
mod event_loop;
mod handlers;
mod message;
mod options;
mod service;
mod state;
mod store;

pub use clock::{Clock, Moment};
pub use controller::{Ended, run};
pub use error::ControllerError;
pub use options::{ControllerOptions, listener_from_stdin};
