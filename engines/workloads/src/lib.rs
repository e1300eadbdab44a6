//! Sample data and query sets for `bireme datagen`, benchmarks and tests.
//!
//! The same [`Dataset`] gives the same rows on every machine and with every number of threads.
//! [`generate`] writes it as Parquet files and says how far it is; where the data is kept, and how
//! progress looks, is the caller's business. Queries are text: nothing here runs them.

mod ais;
mod dataset;
mod error;
mod generate;
mod manifest;
mod parquet_file;
mod queries;
mod random;
mod staging;
mod tpch;

pub use dataset::Dataset;
pub use error::WorkloadError;
pub use generate::{Progress, Summary, generate};
pub use queries::{TPCH_QUERY_COUNT, tpch_queries, tpch_query};
