//! The engine process: one rank of a cluster, bound to one slot, alive between cells.
//!
//! It plans and runs queries it is the head of, runs tasks of other heads, and holds what queries
//! leave resident. Control (heartbeats, cancels, RPC) and queries run on runtimes of their own, on
//! sockets of their own, so that a busy query never delays an answer. Operators, collectives and
//! memory live in the crates below; who may run what is the controller's decision.

mod channels;
mod cluster_view;
mod control_service;
mod delivery;
mod describe;
mod ends;
mod engine;
mod error;
mod fault_from;
mod fill_ticket;
mod flight_service;
mod frame_in_making;
mod frame_statement;
mod frame_table;
mod head_query;
mod housekeeping;
mod join_measurement;
mod lineage;
#[cfg(test)]
mod listed_functions;
mod live_plans;
mod membership;
mod memory_report;
mod names;
mod plan_tree;
mod planner;
mod queries;
mod query_plan;
mod remote_frames;
mod service;
mod session_config;
mod session_tables;
mod shared_table;
mod shuffle_measurement;
mod spans;
mod table_files;
mod task_sessions;
#[cfg(test)]
mod test_engine;
mod timed_spill;
mod values;

pub use engine::EngineOptions;
pub use error::EngineError;
pub use join_measurement::{JoinMeasurement, JoinTimes};
pub use service::run;
pub use shuffle_measurement::ShuffleMeasurement;
