//! Plan nodes and rules that make a query one stage on every engine: the collective shuffle and
//! its kin, the rule that puts them in place of DataFusion's repartitions, their codec, and the
//! session set-up for heads and workers. Moving the rows is left to bireme-collectives.

mod session;

pub use session::{EngineTopology, QueryOptions, WorkerSessions, configure_session};
