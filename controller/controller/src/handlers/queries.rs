//! Queries are submitted, started, followed, cancelled, and reported to have ended.

use super::adoption::failed;
use super::finish::End;
use crate::action::{Action, Answer};
use crate::clock::Moment;
use crate::message::{Followed, Reply, answer};
use crate::state::State;
use crate::state::admission::Share;
use crate::state::engine_loss::EXIT_REPORT_WAIT;
use crate::state::engine_registry::{AttachmentId, Head};
use crate::state::query_table::{FOLLOWER_WAIT, Found, Phase, Query};
use crate::store::Write;
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::{
    CancelQueryRequest, CancelReply, QueryEnded, QueryEvent, QueryProgress, QueryRecord,
    QueryState, StartReply, StartRequest, SubmitRequest,
};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use bireme_settings::parse_duration;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Bytes of a statement.
const SQL_BYTES_MAX: usize = 4 << 20;
/// How long a head may plan before it answers.
const START_DEADLINE: Duration = Duration::from_secs(110);

impl State {
    pub(super) fn submit(
        &mut self,
        id: QueryId,
        request: SubmitRequest,
        reply: Reply<QueryEvent>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.touched = now;
        let query = match self.admit(id, request, now) {
            Ok(query) => query,
            Err(fault) => return answer(reply, Err(fault.of_query(id.to_string()))),
        };
        actions.push(Action::Save(Write::Query {
            record: Box::new(query.record(0, now)),
            head: None,
        }));
        self.note_use(&query.request.session, now);
        self.queries.live.insert(id, query);
        self.start_queries(now, actions);
        let place = self.place(id);
        let Some(query) = self.queries.live.get_mut(&id) else {
            return;
        };
        if query.phase == Phase::Queued {
            answer(reply, Ok(query.event(place, now)));
        } else {
            query.submitter = Some(reply);
        }
    }

    pub(super) fn admit(
        &mut self,
        id: QueryId,
        request: SubmitRequest,
        now: Moment,
    ) -> Result<Query, Fault> {
        let session = self.sessions.get_mut(&request.session)?;
        session.touched_at_ms = now_ms();
        let timeout = match request.timeout_ms {
            0 => session
                .settings
                .get("query.timeout")
                .and_then(|text| parse_duration(text))
                .unwrap_or_default(),
            millis => Duration::from_millis(millis),
        };
        if request.sql.len() > SQL_BYTES_MAX {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!(
                    "submit a query: the statement has {} bytes, {SQL_BYTES_MAX} at most are accepted",
                    request.sql.len()
                ),
            ));
        }
        if self.queries.is_known(id) {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("submit query {id}: there is one with this id already"),
            ));
        }
        let share = self.admission.push(&request.session, id, request.trivial)?;
        Ok(Query {
            id,
            phase: Phase::Queued,
            share,
            submitted_at_ms: now_ms(),
            submitted: now,
            started: None,
            deadline: (!timeout.is_zero()).then(|| now.after(timeout)),
            head: None,
            head_address: String::new(),
            engines: BTreeSet::new(),
            progress: BTreeMap::new(),
            last_listed: now,
            confirm_until: None,
            frames_seen: 0,
            suspected: None,
            events: watch::Sender::new(QueryEvent {
                query_id: id.to_string(),
                state: QueryState::Queued as i32,
                progress: Some(QueryProgress::default()),
                ..QueryEvent::default()
            }),
            unfollowed: None,
            submitter: None,
            request,
        })
    }

    /// Starts whoever's turn it is while there are places and engines.
    pub(super) fn start_queries(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let are_all_up = self.engines.are_all_up();
        // The head first: a query that left the queue has to run.
        while self.admission.queued() > 0
            && let Some(head) = self.engines.choose_head(|rank| self.queries.heading(rank))
            && let Some(id) = self.admission.pop(are_all_up)
        {
            self.start_query(id, head, now, actions);
        }
    }

    fn start_query(&mut self, id: QueryId, head: Head, now: Moment, actions: &mut Vec<Action>) {
        let members: BTreeSet<u32> = self.engines.members().map(|engine| engine.rank).collect();
        let Some(query) = self.queries.live.get_mut(&id) else {
            tracing::error!(query_id = %id, "the queue held a query that is none");
            return self.admission.release(Share::Place);
        };
        query.phase = Phase::Starting;
        query.frames_seen = self.segments.version();
        query.started = Some(now);
        query.last_listed = now;
        query.head = Some(head.rank);
        query.head_address = head.address;
        query.engines = match query.share {
            Share::Trivial => BTreeSet::from([head.rank]),
            Share::Place => members,
        };
        let record = query.record(0, now);
        let mut start = self.start_request(id, now);
        let Some(query) = self.queries.live.get(&id) else {
            return;
        };
        if let Err(fault) = self.with_source(query, &mut start) {
            self.segments.end_rebuild(id);
            return self.finish(id, failed(fault), now, actions);
        }
        // An engine may run it from now on, also if we end before we hear of it.
        let record = QueryRecord {
            state: QueryState::Running as i32,
            ..record
        };
        let write = Write::Query {
            record: Box::new(record),
            head: Some(head.rank),
        };
        // What it makes is lost with a controller that ends before it is written down.
        let is_written_first = query.share == Share::Place;
        let written = is_written_first.then(oneshot::channel);
        let (saved, written) = written.unzip();
        actions.push(match saved {
            Some(saved) => Action::SaveThenAnswer(write, Answer::Done(saved)),
            None => Action::Save(write),
        });
        actions.push(Action::Start {
            engine: head.client,
            id,
            request: Box::new(start),
            limit: START_DEADLINE,
            written,
        });
    }

    /// What the head is told of a query, from what is known now.
    fn start_request(&self, id: QueryId, now: Moment) -> StartRequest {
        let Some(query) = self.queries.live.get(&id) else {
            return StartRequest::default();
        };
        let request = &query.request;
        let session = self.sessions.get(&request.session);
        let left = query.deadline.map(|deadline| deadline.since(now));
        StartRequest {
            query_id: id.to_string(),
            sql: request.sql.clone(),
            mode: request.mode,
            catalog: self.catalog_of(&request.session).ok(),
            values: request.values.clone(),
            limit: request.limit,
            timeout_ms: left.map_or(0, |left| {
                u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1)
            }),
            delivery: request.delivery,
            topology_version: self.engines.topology_version(),
            persist: request.persist.clone(),
            reuse_before_ms: session.as_ref().map_or(0, |session| session.opened_at_ms),
            settings: session.map_or_else(|_| Vec::new(), |session| session.settings()),
            rebuild: None,
            remakes: String::new(),
        }
    }

    /// The head has planned the query, or not.
    pub(super) fn started(
        &mut self,
        id: QueryId,
        started: Result<StartReply, Fault>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let is_lost = self.losses.covers(id);
        let Some(query) = self.queries.live.get_mut(&id) else {
            // It was ended from here while it was planned: what the head made of it has to go.
            if started.is_ok() && self.queries.ended_state(id) != Some(QueryState::Succeeded) {
                let fault =
                    Fault::new(ErrorCode::Cancelled, "the query ended while it was planned");
                self.cancel_on_engines(id, &fault, actions);
            }
            return;
        };
        match started {
            Ok(reply) => {
                query.phase = Phase::Running;
                query.last_listed = now;
                if !reply.engines.is_empty() {
                    query.engines = reply.engines.into_iter().chain(query.head).collect();
                }
                let event = query.event(0, now);
                if let Some(submitter) = query.submitter.take() {
                    answer(submitter, Ok(event.clone()));
                }
                actions.push(Action::Publish(query.events.clone(), event));
            }
            Err(_) if is_lost => {}
            Err(fault) if fault.code == ErrorCode::NotReady => {
                self.wait_for_frames(id, now, actions)
            }
            Err(fault) => self.failed(id, fault, None, now, actions),
        }
    }

    /// A query that reads what is being made again gives back its place until that is there.
    fn wait_for_frames(&mut self, id: QueryId, now: Moment, actions: &mut Vec<Action>) {
        let Some(query) = self.queries.live.get_mut(&id) else {
            return;
        };
        self.admission.release(query.share);
        self.admission.park(&query.request.session, id);
        query.share = Share::Place;
        query.phase = Phase::Queued;
        query.head = None;
        query.head_address.clear();
        query.engines.clear();
        let event = query.event(0, now);
        if let Some(submitter) = query.submitter.take() {
            answer(submitter, Ok(event.clone()));
        }
        tracing::info!(query_id = %id, "query waits for a frame that is made again");
        actions.push(Action::Save(Write::Query {
            record: Box::new(query.record(0, now)),
            head: None,
        }));
        actions.push(Action::Publish(query.events.clone(), event));
    }

    /// Puts queries that waited for frames in the queue, once something has become of those.
    pub(super) fn queue_waiting(&mut self) {
        let (version, live) = (self.segments.version(), &self.queries.live);
        let has_news = |id| {
            live.get(&id)
                .is_none_or(|query| query.frames_seen != version)
        };
        self.admission.unpark(has_news);
    }

    /// The head says that a query has ended.
    pub(super) fn query_ended(
        &mut self,
        attachment: AttachmentId,
        ended: QueryEnded,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if self.engines.attached(attachment).is_none() {
            return;
        }
        let Ok(id) = ended.query_id.parse::<QueryId>() else {
            tracing::warn!(query_id = %ended.query_id, "an engine ended a query whose id is none");
            return;
        };
        self.drained(id);
        let Some(query) = self.queries.live.get_mut(&id) else {
            return;
        };
        if query.head.is_some_and(|head| head != attachment.rank) {
            return;
        }
        query.confirm_until = None;
        let state = ended.state();
        let fault = (!ended.fault_json.is_empty()).then(|| Fault::from_json(&ended.fault_json));
        if state == QueryState::Failed {
            let fault = fault.unwrap_or_else(|| Fault::internal("the head engine did not say why"));
            return self.failed(id, fault, ended.progress, now, actions);
        }
        let session = query.request.session.clone();
        if let Some(made) = ended.made.filter(|_| state == QueryState::Succeeded) {
            self.frame_made(id, &session, made, actions);
        }
        let end = End {
            state,
            fault,
            progress: ended.progress,
        };
        self.finish(id, end, now, actions);
    }

    /// A query failed on its head. If that looks like another engine's end, its news is awaited for a
    /// moment, so that the query fails with the root cause.
    fn failed(
        &mut self,
        id: QueryId,
        fault: Fault,
        progress: Option<QueryProgress>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let is_lost = self.losses.covers(id);
        let Some(query) = self.queries.live.get_mut(&id) else {
            return;
        };
        let looks_lost = matches!(
            fault.code,
            ErrorCode::EngineLost | ErrorCode::Unavailable | ErrorCode::Internal
        );
        if is_lost || looks_lost {
            query.suspected = Some((fault, now.after(EXIT_REPORT_WAIT)));
            return;
        }
        let rest = query
            .engines
            .iter()
            .filter(|rank| Some(**rank) != query.head);
        for engine in rest.filter_map(|rank| self.engines.client(*rank)) {
            actions.push(Action::CancelOn {
                engine,
                id,
                fault: fault.clone(),
            });
        }
        let end = End {
            state: QueryState::Failed,
            fault: Some(fault),
            progress,
        };
        self.finish(id, end, now, actions);
    }

    /// Who submitted it went away before it was told the id.
    pub(super) fn abandoned(&mut self, id: QueryId, now: Moment, actions: &mut Vec<Action>) {
        let is_unanswered = |query: &Query| query.submitter.is_some();
        if self.queries.live.get(&id).is_some_and(is_unanswered) {
            let fault = Fault::new(ErrorCode::Cancelled, "the client went away");
            self.end_everywhere(id, QueryState::Cancelled, fault, now, actions);
        }
    }

    pub(super) fn cancel(
        &mut self,
        request: &CancelQueryRequest,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<CancelReply, Fault> {
        let id = match self.queries.find(&request.query_id)? {
            Found::Live(id) => id,
            Found::Ended(event) => {
                return Ok(CancelReply {
                    cancelled: false,
                    query_id: event.query_id,
                });
            }
        };
        let reason = match request.reason.as_str() {
            "" => "on request",
            reason => reason,
        };
        let message = format!("query {} was cancelled: {reason}", id.short());
        let fault = Fault::new(ErrorCode::Cancelled, message);
        self.end_everywhere(id, QueryState::Cancelled, fault, now, actions);
        Ok(CancelReply {
            cancelled: true,
            query_id: id.to_string(),
        })
    }

    pub(super) fn follow(&self, query: &str) -> Result<Followed, Fault> {
        match self.queries.find(query)? {
            Found::Ended(event) => Ok(Followed::Ended(event)),
            Found::Live(id) => match self.queries.live.get(&id) {
                Some(query) => Ok(Followed::Live(id, query.events.subscribe())),
                None => Err(Fault::internal("follow a query: it is gone")),
            },
        }
    }

    /// A follower is gone: the client that waits for the query, if it is still in the queue.
    pub(super) fn unfollowed(&mut self, id: QueryId, now: Moment) {
        if let Some(query) = self.queries.live.get_mut(&id) {
            query.unfollowed = Some(now.after(FOLLOWER_WAIT));
        }
    }

    pub(super) fn jobs(&self, now: Moment) -> Vec<QueryRecord> {
        let order = self.admission.order();
        let mut jobs: Vec<QueryRecord> = self
            .queries
            .live
            .values()
            .map(|query| query.record(place_in(&order, query.id), now))
            .collect();
        jobs.sort_by_key(|job| (job.place, job.submitted_at_ms));
        jobs
    }

    /// Tells who waits when the place has changed.
    pub(super) fn publish_places(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let order = self.admission.order();
        for id in &order {
            let place = place_in(&order, *id);
            let Some(query) = self.queries.live.get(id) else {
                continue;
            };
            if query.events.borrow().place != place {
                actions.push(Action::Publish(
                    query.events.clone(),
                    query.event(place, now),
                ));
            }
        }
    }

    fn place(&self, id: QueryId) -> u32 {
        place_in(&self.admission.order(), id)
    }
}

/// The place in the queue from 1; 0 outside of it.
fn place_in(order: &[QueryId], id: QueryId) -> u32 {
    let index = order.iter().position(|queued| *queued == id);
    index.map_or(0, |index| u32::try_from(index + 1).unwrap_or(u32::MAX))
}
