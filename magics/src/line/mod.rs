//! Magics of one line, one per file.

pub mod cancel;
pub mod clear;
pub mod cluster;
pub mod config;
pub mod engines;
pub mod explain;
pub mod help;
pub mod history;
pub mod jobs;
pub mod param;
pub mod restart;
pub mod show;
pub mod trace;
