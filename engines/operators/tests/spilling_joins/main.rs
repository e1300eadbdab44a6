//! Joins that spill give what DataFusion's own joins give with all memory there is.
#![cfg(test)]

mod benchmark;
mod endings;
mod harness;
mod kinds;
