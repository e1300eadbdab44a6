//! A query ends, once: it is written down, everyone who follows it is told, its place is free.

use crate::action::Action;
use crate::clock::Moment;
use crate::message::answer;
use crate::state::State;
use crate::state::progress;
use crate::state::query_table::{DRAIN_WAIT, Draining, Phase, Query};
use crate::store::Write;
use bireme_protocol::proto::{QueryEvent, QueryProgress, QueryState};
use bireme_protocol::{Fault, QueryId};

/// How a query ended.
pub(super) struct End {
    pub(super) state: QueryState,
    pub(super) fault: Option<Fault>,
    /// The head's last word.
    pub(super) progress: Option<QueryProgress>,
}

impl State {
    /// Ends a query that its head has ended, or that no engine knows.
    pub(super) fn finish(&mut self, id: QueryId, end: End, now: Moment, actions: &mut Vec<Action>) {
        if let Some(query) = self.queries.live.remove(&id) {
            if query.phase == Phase::Queued {
                self.admission.remove(id);
            } else {
                self.admission.release(query.share);
            }
            self.tell_end(query, end, now, actions);
        }
    }

    /// Ends a query from here: engines are told, and its place is free when they have let go.
    pub(super) fn end_everywhere(
        &mut self,
        id: QueryId,
        state: QueryState,
        fault: Fault,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(query) = self.queries.live.remove(&id) else {
            return;
        };
        if query.phase == Phase::Queued {
            self.admission.remove(id);
        } else {
            self.cancel_on_engines(id, &fault, actions);
            self.drain(&query, now);
        }
        let end = End {
            state,
            fault: Some(fault),
            progress: None,
        };
        self.tell_end(query, end, now, actions);
    }

    pub(super) fn cancel_on_engines(&self, id: QueryId, fault: &Fault, actions: &mut Vec<Action>) {
        for (_, engine) in self.engines.clients() {
            actions.push(Action::CancelOn {
                engine,
                id,
                fault: fault.clone(),
            });
        }
    }

    /// The head has let go of a query that ended here.
    pub(super) fn drained(&mut self, id: QueryId) {
        if let Some(draining) = self.queries.draining.remove(&id) {
            self.admission.release(draining.share);
        }
    }

    fn drain(&mut self, query: &Query, now: Moment) {
        let head = query.head.and_then(|rank| self.engines.get(rank));
        if head.is_none_or(|head| head.commands.is_none()) {
            return self.admission.release(query.share);
        }
        let draining = Draining {
            head: query.head,
            share: query.share,
            until: now.after(DRAIN_WAIT),
        };
        self.queries.draining.insert(query.id, draining);
    }

    fn tell_end(&mut self, mut query: Query, end: End, now: Moment, actions: &mut Vec<Action>) {
        if end.state != QueryState::Succeeded {
            self.nothing_made(&query, end.fault.as_ref());
        }
        self.segments.ended(query.id);
        let mut total = query.total(now);
        if let Some(last) = &end.progress {
            total = progress::larger(&total, last);
        }
        let fault_json = end
            .fault
            .map(|fault| fault.of_query(query.id.to_string()).to_json())
            .unwrap_or_default();
        let event = QueryEvent {
            query_id: query.id.to_string(),
            state: end.state as i32,
            place: 0,
            head_address: query.head_address.clone(),
            head_rank: query.head.unwrap_or_default(),
            progress: Some(total),
            fault_json: fault_json.clone(),
            engines: progress::by_engine(&query.progress),
        };
        let mut record = query.record(0, now);
        record.state = end.state as i32;
        record.elapsed_ms = total.elapsed_ms;
        record.progress = Some(total);
        record.fault_json = fault_json;
        tracing::info!(query_id = %query.id, state = ?end.state, elapsed_ms = total.elapsed_ms, "query ended");
        actions.push(Action::Save(Write::Query {
            record: Box::new(record),
            head: query.head,
        }));
        self.queries.remember(query.id, now, event.clone());
        if let Some(submitter) = query.submitter.take() {
            answer(submitter, Ok(event.clone()));
        }
        actions.push(Action::Publish(query.events, event));
    }
}
