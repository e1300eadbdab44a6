//! Distributed queries against DataFusion in one process, on clusters of 1, 2, 3 and 5 engines
//! within the test process.
#![cfg(test)]

mod answers;
mod cluster;
mod distinct;
mod dynamic_filters;
mod ending;
mod joins;
mod local;
mod plans;
mod pressure;
mod scalar_subqueries;
mod shapes;
mod stages;
mod tables;
mod tpch;
mod window_rewrite;
