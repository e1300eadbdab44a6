//! One suite for every transport: what the exchange promises, seen through its public API.
#![cfg(test)]

mod cluster;
mod ending;
mod exchange;
mod finish;
mod lost;
mod pressure;
mod sockets;
