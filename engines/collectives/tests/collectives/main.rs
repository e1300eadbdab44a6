//! One suite for every transport: what the exchange promises, seen through its public API.

mod cluster;
mod ending;
mod exchange;
mod pressure;
mod sockets;
