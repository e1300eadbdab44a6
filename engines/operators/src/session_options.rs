//! What travels from the head's session to the sessions of tasks: the query, and the settings of
//! DataFusion that were changed. datafusion-distributed itself passes neither on.

use crate::error::OperatorsError;
use crate::query_end::QueryEnd;
use crate::stoppable_pool::StoppablePool;
use bireme_frames::Budget;
use bireme_protocol::QueryId;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::prelude::SessionConfig;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::HashMap;
use std::sync::Arc;

const QUERY_HEADER: HeaderName = HeaderName::from_static("x-bireme-query");
const SETTINGS_HEADER: HeaderName = HeaderName::from_static("x-bireme-settings");
/// Settings beginning so are passed on.
const PASSED_ON: [&str; 2] = ["datafusion.execution.", "datafusion.optimizer."];
/// Spilled rows are merged from so many files at once that one part of so many of a partition's memory
/// holds them, with so much of each: DataFusion takes as many as it is granted memory for, and what
/// reads the merge is refused the rest.
const MERGE_PART: usize = 2;
const MERGED_FILE_BYTES: usize = 2 << 20;
const MERGED_FILES_MAX: usize = 64;

/// The headers of every task of the query.
pub(crate) fn to_headers(query: QueryId, config: &SessionConfig) -> Result<HeaderMap> {
    let defaults: HashMap<String, Option<String>> = SessionConfig::new()
        .options()
        .entries()
        .into_iter()
        .map(|entry| (entry.key, entry.value))
        .collect();
    let changed: serde_json::Map<String, serde_json::Value> = config
        .options()
        .entries()
        .into_iter()
        .filter(|entry| PASSED_ON.iter().any(|begin| entry.key.starts_with(begin)))
        .filter(|entry| defaults.get(&entry.key) != Some(&entry.value))
        .filter_map(|entry| Some((entry.key, entry.value?.into())))
        .collect();
    let settings = serde_json::Value::Object(changed).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(QUERY_HEADER, value(&query.to_string())?);
    headers.insert(SETTINGS_HEADER, value(&settings)?);
    Ok(headers)
}

/// The query a task belongs to.
pub fn query_of(headers: &HeaderMap) -> Option<QueryId> {
    headers.get(QUERY_HEADER)?.to_str().ok()?.parse().ok()
}

/// Applies the settings the head has changed.
pub(crate) fn apply_settings(headers: &HeaderMap, config: &mut SessionConfig) -> Result<()> {
    let Some(text) = headers.get(SETTINGS_HEADER) else {
        return Ok(());
    };
    let settings: HashMap<String, String> =
        serde_json::from_slice(text.as_bytes()).map_err(|error| wrong("decode", error))?;
    for (key, value) in settings {
        config.options_mut().set(&key, &value)?;
    }
    Ok(())
}

/// The runtime environment of an engine with reservations counted for this query, and refused once
/// it has ended. Its disk manager is the query's own, if it spills.
pub fn query_runtime(
    runtime: &Arc<RuntimeEnv>,
    budget: &Arc<Budget>,
    query: QueryId,
    end: &QueryEnd,
    partitions: usize,
) -> Arc<RuntimeEnv> {
    let mut of_query = RuntimeEnv::clone(runtime);
    let files = budget.host_limit() / partitions.max(1) / MERGE_PART / MERGED_FILE_BYTES;
    let files = files.clamp(2, MERGED_FILES_MAX);
    of_query.disk_manager.set_max_spill_merge_fan_in(files);
    let part = budget.for_query(query.short());
    of_query.memory_pool = Arc::new(StoppablePool::new(part, end.clone()));
    Arc::new(of_query)
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|error| wrong("encode", error))
}

fn wrong(action: &'static str, reason: impl ToString) -> DataFusionError {
    OperatorsError::Codec {
        action,
        what: "the settings of a query".to_string(),
        reason: reason.to_string(),
    }
    .into()
}
