//! Queries go on when the controller does not: its successor knows them from the database and from
//! what the engines report, and follows them to their end.

use super::finish::End;
use crate::action::Action;
use crate::clock::Moment;
use crate::state::State;
use crate::state::admission::Share;
use crate::state::query_table::{DRAIN_WAIT, Phase, Query};
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::{QueryEvent, QueryRecord, QueryState, RunningQuery, SubmitRequest};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;

/// How long engines have to report what they run after the controller's return.
const CONFIRM_WAIT: Duration = Duration::from_secs(10);

impl State {
    /// Takes over the queries that had not ended when the last controller did.
    pub(crate) fn take_over(
        &mut self,
        open: Vec<(QueryRecord, Option<u32>)>,
        now: Moment,
    ) -> Vec<Action> {
        let mut actions = Vec::new();
        for (record, head) in open {
            let Ok(id) = record.query_id.parse::<QueryId>() else {
                continue;
            };
            let is_running = record.state() == QueryState::Running;
            let mut query = adopted(id, record, head, now);
            query.confirm_until = Some(now.after(CONFIRM_WAIT));
            self.admission.adopt();
            self.queries.live.insert(id, query);
            if !is_running {
                let fault = Fault::new(
                    ErrorCode::Unavailable,
                    format!(
                        "query {} waited in the queue of a controller that ended",
                        id.short()
                    ),
                )
                .with_hint("run it again");
                self.finish(id, failed(fault), now, &mut actions);
            }
        }
        actions
    }

    /// An engine says that it runs a part of a query.
    pub(super) fn query_reported(
        &mut self,
        rank: u32,
        report: &RunningQuery,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Ok(id) = report.query_id.parse::<QueryId>() else {
            return;
        };
        if self.queries.draining.contains_key(&id) {
            return;
        }
        if let Some(ended) = self.queries.ended_at(id) {
            return self.still_reported(rank, id, now.since(ended), actions);
        }
        if !self.queries.live.contains_key(&id) && !self.adopt_unknown(rank, id, report, now) {
            return;
        }
        let Some(query) = self.queries.live.get_mut(&id) else {
            return;
        };
        query.confirm_until = None;
        query.engines.insert(rank);
        if report.head {
            query.head = Some(rank);
        }
        let session = query.request.session.clone();
        if query.head == Some(rank) {
            query.last_listed = now;
            if let Some(engine) = self.engines.get(rank) {
                query.head_address.clone_from(&engine.address);
            }
        }
        query
            .progress
            .insert(rank, report.progress.unwrap_or_default());
        if query.phase == Phase::Running {
            actions.push(Action::Publish(query.events.clone(), query.event(0, now)));
        }
        if !report.remakes.is_empty() && self.segments.rebuild(id).is_none() {
            self.know_rebuild(id, session, report);
        }
    }

    /// A query that not even the database knows is adopted once its head reports it.
    fn adopt_unknown(
        &mut self,
        rank: u32,
        id: QueryId,
        report: &RunningQuery,
        now: Moment,
    ) -> bool {
        if !report.head {
            return false;
        }
        tracing::warn!(query_id = %id, rank, "engine runs a query nobody remembers: it is adopted");
        let record = QueryRecord {
            query_id: id.to_string(),
            submitted_at_ms: now_ms(),
            ..QueryRecord::default()
        };
        self.admission.adopt();
        self.queries
            .live
            .insert(id, adopted(id, record, Some(rank), now));
        true
    }

    /// An engine goes on with a query that has ended: it is told once more.
    fn still_reported(&self, rank: u32, id: QueryId, since: Duration, actions: &mut Vec<Action>) {
        if since < DRAIN_WAIT {
            return;
        }
        if let Some(engine) = self.engines.client(rank) {
            tracing::warn!(query_id = %id, rank, "engine still runs a query that ended");
            let fault = Fault::new(ErrorCode::Cancelled, "the query has ended");
            actions.push(Action::CancelOn { engine, id, fault });
        }
    }

    /// Gives up a query of the last controller that no engine reports.
    pub(super) fn give_up_unconfirmed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let unconfirmed: Vec<QueryId> = self
            .queries
            .live
            .values()
            .filter(|query| query.confirm_until.is_some_and(|until| until <= now))
            .map(|query| query.id)
            .collect();
        for id in unconfirmed {
            let fault = Fault::new(
                ErrorCode::Unavailable,
                format!(
                    "query {} ran when the controller ended, and no engine reports it {CONFIRM_WAIT:?} after its return: its end was not seen",
                    id.short()
                ),
            )
            .with_hint("run it again if its result did not arrive");
            self.finish(id, failed(fault), now, actions);
        }
    }
}

pub(super) fn failed(fault: Fault) -> End {
    End {
        state: QueryState::Failed,
        fault: Some(fault),
        progress: None,
    }
}

fn adopted(id: QueryId, record: QueryRecord, head: Option<u32>, now: Moment) -> Query {
    let event = QueryEvent {
        query_id: id.to_string(),
        state: QueryState::Running as i32,
        head_rank: head.unwrap_or_default(),
        progress: Some(record.progress.unwrap_or_default()),
        ..QueryEvent::default()
    };
    Query {
        id,
        phase: Phase::Running,
        share: Share::Place,
        request: SubmitRequest {
            session: record.session,
            sql: record.sql,
            ..SubmitRequest::default()
        },
        submitted_at_ms: record.submitted_at_ms,
        submitted: now,
        started: Some(now),
        deadline: None,
        head,
        head_address: String::new(),
        engines: head.into_iter().collect::<BTreeSet<u32>>(),
        progress: BTreeMap::new(),
        last_listed: now,
        confirm_until: None,
        frames_seen: 0,
        suspected: None,
        events: watch::Sender::new(event),
        unfollowed: None,
        submitter: None,
    }
}
