//! The words processes exchange: ids, errors, addresses, build ids and the gRPC services.
//!
//! Everything that crosses a process boundary is declared here and nothing else is: no state, no
//! policy. The controller, the engines and their clients all depend on this crate.

pub mod address;
pub mod build_id;
pub mod fault;
pub mod frame_facts;
pub mod ids;
pub mod plan_tree;
pub mod process;

pub use address::Address;
pub use build_id::build_id;
pub use fault::{ErrorCode, Fault, Position};
pub use ids::{EngineRank, QueryId, SessionName};
pub use plan_tree::{PlanNode, PlanTree};

/// Generated messages and services of `proto/`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::clone_on_ref_ptr,
    clippy::large_enum_variant,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub mod proto {
    tonic::include_proto!("bireme.v1");
}
