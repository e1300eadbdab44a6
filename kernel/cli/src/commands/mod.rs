//! The commands of the binary, one file each.

pub(crate) mod bench;
pub(crate) mod cluster;
pub(crate) mod controller;
pub(crate) mod datagen;
pub(crate) mod engine;
pub(crate) mod install;
pub(crate) mod kernel;
pub(crate) mod lab;
pub(crate) mod launcher;
pub(crate) mod run;
pub(crate) mod sql;
