//! The plan of a query and what it is made with: the session's needs and settings, the checks, the
//! limit. Running it is left to [`crate::head_query`].

use crate::engine::{Engine, HeadNeeds};
use crate::fault_from::fault_from;
use crate::frame_statement::FrameStatement;
use crate::table_files;
use bireme_operators::tell_arrow_files;
use bireme_protocol::proto::{Catalog, StartRequest};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use bireme_settings::{Settings, Source};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;
use std::time::Duration;

/// What the query needs of its session, which is more if it makes a frame.
pub(crate) fn needs_of(
    id: QueryId,
    request: &StartRequest,
    statement: Option<&FrameStatement>,
    catalog: &Catalog,
) -> Result<HeadNeeds, Fault> {
    let mut needs = HeadNeeds {
        topology: request.topology_version,
        ..HeadNeeds::default()
    };
    if let Some(statement) = statement {
        let (keep, partitions) = statement.keep(id, catalog, request.persist.as_ref())?;
        (needs.keep, needs.partitions) = (Some(keep), partitions);
    }
    Ok(needs)
}

/// How long the query may take; zero for as long as it likes.
pub(crate) fn timeout_of(request: &StartRequest, settings: &Settings) -> Duration {
    match request.timeout_ms {
        0 => settings.duration("query.timeout"),
        millis => Duration::from_millis(millis),
    }
}

/// The plan as it is optimized, and as it runs.
pub(crate) async fn physical(
    state: &SessionState,
    logical: &LogicalPlan,
) -> Result<(LogicalPlan, Arc<dyn ExecutionPlan>), Fault> {
    let optimized = state.optimize(logical);
    let optimized = optimized.map_err(|error| fault_from(&error))?;
    let planner = state.query_planner();
    let plan = planner.create_physical_plan(&optimized, state).await;
    Ok((optimized, plan.map_err(|error| fault_from(&error))?))
}

/// The session's settings over the engine's own.
pub(crate) fn settings_of(engine: &Engine, request: &StartRequest) -> Result<Settings, Fault> {
    let mut settings = engine.settings().clone();
    for setting in &request.settings {
        settings
            .set(&setting.key, &setting.value, Source::Session)
            .map_err(|error| Fault::new(ErrorCode::InvalidArgument, error.to_string()))?;
    }
    Ok(settings)
}

/// Refuses what is not a query, makes paths absolute and adds the limit.
pub(crate) fn prepare(
    plan: LogicalPlan,
    directory: &str,
    limit: u64,
) -> Result<LogicalPlan, Fault> {
    match plan {
        LogicalPlan::Ddl(_) | LogicalPlan::Statement(_) | LogicalPlan::Dml(_) => Err(Fault::new(
            ErrorCode::SqlPlanError,
            format!("run {}: this statement gives no rows here", plan.display()),
        )),
        LogicalPlan::Copy(mut copy) => {
            table_files::check_local(&copy.output_url)?;
            copy.output_url = table_files::absolute(&copy.output_url, directory);
            tell_arrow_files(&mut copy).map_err(|error| fault_from(&error))?;
            Ok(LogicalPlan::Copy(copy))
        }
        plan if limit == 0 => Ok(plan),
        plan => {
            let rows = usize::try_from(limit).unwrap_or(usize::MAX);
            let limited = LogicalPlanBuilder::from(plan).limit(0, Some(rows));
            let limited = limited.and_then(LogicalPlanBuilder::build);
            limited.map_err(|error| fault_from(&error))
        }
    }
}
