//! A framework for Jupyter kernels: sockets, wire protocol, signatures, queues, pacing, life cycle.
//!
//! It knows no language. A kernel implements [`ShellHandler`] and [`ControlHandler`], binds
//! [`BoundSockets`] first of all and hands both to [`serve`]; `examples/echo.rs` is the smallest
//! one. [`Frontend`] is the other side: a client that runs cells without Python.
//!
//! Transports are tcp and ipc. CURVE is not spoken, so a client that requires encryption refuses
//! the kernel; on shared machines use `ipc`.

mod connection_file;
mod dispatch;
mod error;
mod execute_context;
mod frontend;
mod handler;
pub mod kernelspec;
mod output;
mod parent_watch;
mod publish;
mod serve;
mod session;
mod signing;
mod sockets;
mod usage;
pub mod wire;
mod zmtp;

pub use connection_file::{Channel, ConnectionFile, ConnectionTransport};
pub use error::{JupyterError, Result};
pub use execute_context::ExecuteContext;
pub use frontend::{Execution, ExecutionEnd, Frontend, FrontendMessage, RawClient};
pub use handler::{ControlHandler, Kernel, ShellHandler};
pub use output::Output;
pub use publish::StreamLimits;
pub use serve::{ExitReason, ServeOptions, serve};
pub use signing::{SignatureError, Signer};
pub use sockets::{BoundSockets, InputError};
