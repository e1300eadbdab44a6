//! Distributed queries against DataFusion in one process, on clusters of 1, 2, 3 and 5 engines
//! within the test process.

mod answers;
mod cluster;
mod dynamic_filters;
mod ending;
mod joins;
mod plans;
mod pressure;
mod shapes;
mod tables;
mod tpch;
