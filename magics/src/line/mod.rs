//! Magics of one line, one per file.

pub mod attach;
pub mod cancel;
pub mod clear;
pub mod cluster;
pub mod config;
pub mod engines;
pub mod explain;
pub mod frames;
pub mod gather;
pub mod help;
pub mod history;
pub mod jobs;
pub mod memory;
pub mod param;
pub mod persist;
pub mod restart;
pub mod scatter;
pub mod show;
pub mod trace;
