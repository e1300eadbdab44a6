//! What happens because time has passed: silence, timeouts, idleness.

use super::adoption::failed;
use crate::action::Action;
use crate::clock::Moment;
use crate::state::State;
use crate::state::admission::Share;
use crate::state::engine_registry::EngineState;
use crate::state::liveness::Verdict;
use crate::state::query_table::{FOLLOWER_WAIT, Phase, Query};
use bireme_protocol::proto::QueryState;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::time::Duration;

/// How long a queued query waits for any engine.
const NO_ENGINE_WAIT: Duration = Duration::from_secs(30);
/// How long a query that reads tables waits for all engines: one that ended is back by then.
const ALL_ENGINES_WAIT: Duration = Duration::from_secs(5);
/// How much later than the head the controller ends a query that took too long.
const TIMEOUT_SLACK: Duration = Duration::from_millis(500);
/// A query its head does not list for this long, while it reports, is no more.
const UNLISTED_WAIT: Duration = Duration::from_secs(10);

impl State {
    /// Does what is due. Returns what is to be done outside, in order.
    pub(crate) fn tick(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.judge_engines(now, &mut actions);
        for loss in self.losses.take(|loss| loss.until <= now) {
            self.settle_loss(&loss, None, now, &mut actions);
        }
        self.fail_suspected(now, &mut actions);
        self.end_late(now, &mut actions);
        self.give_up_unconfirmed(now, &mut actions);
        self.give_up_unlisted(now, &mut actions);
        self.give_up_without_engines(now, &mut actions);
        self.give_up_held(now, &mut actions);
        self.cancel_unfollowed(now, &mut actions);
        self.forget_unattended(now, &mut actions);
        let drained: Vec<QueryId> = self
            .queries
            .draining
            .iter()
            .filter(|(_, draining)| draining.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in drained {
            self.drained(id);
        }
        self.expire_definitions(now);
        self.expire_waiting(now);
        self.expire_resizes(now, &mut actions);
        self.settle(now, &mut actions);
        actions
    }

    /// When there is something to do next, if nothing happens before.
    pub(crate) fn deadline(&self, now: Moment) -> Option<Moment> {
        let attached = self.engines.iter().filter(|e| e.commands.is_some());
        let silence = attached.filter_map(|e| self.liveness.deadline(e.last_heard, now));
        let queries = self.queries.live.values().filter_map(due);
        let held = self.held().map(|(_, until)| until);
        let drained = self.queries.draining.values().map(|d| d.until);
        let others = [
            self.losses.deadline(),
            self.waiting.deadline(now),
            self.no_engine_deadline(),
            self.idle_deadline(),
            self.attendance_deadline(),
        ];
        let others = others.into_iter().flatten();
        let engines = silence.chain(drained).chain(others);
        engines.chain(queries).chain(held).min()
    }

    /// Whether the cluster was not asked for anything for so long that it may end.
    pub(crate) fn is_idle(&self, now: Moment) -> bool {
        self.idle_deadline().is_some_and(|deadline| deadline <= now)
    }

    fn idle_deadline(&self) -> Option<Moment> {
        let is_quiet = self.queries.live.is_empty()
            && self.queries.draining.is_empty()
            && self.waiting.definitions.is_empty()
            && !self.has_frames();
        (is_quiet && !self.idle_timeout.is_zero()).then(|| self.touched.after(self.idle_timeout))
    }

    fn judge_engines(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let mut lost = Vec::new();
        for engine in self.engines.iter_mut() {
            if engine.commands.is_none() || !engine.is_member() {
                continue;
            }
            match self.liveness.judge(engine.last_heard, now) {
                Verdict::Live => {}
                Verdict::Suspected => engine.state = EngineState::Suspected,
                Verdict::Lost => lost.push(engine.rank),
            }
        }
        let seen = format!("reported nothing for {:?}", self.liveness.lost_after());
        for rank in lost {
            self.lose(rank, &seen, now, actions);
        }
    }

    /// Failures for which no engine's end came forward are what they seem.
    fn fail_suspected(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_settled = |query: &&Query| {
            let until = query.suspected.as_ref().map(|(_, until)| *until);
            until.is_some_and(|until| until <= now) && !self.losses.covers(query.id)
        };
        let settled: Vec<(QueryId, Fault)> = self
            .queries
            .live
            .values()
            .filter(is_settled)
            .filter_map(|query| Some((query.id, query.suspected.clone()?.0)))
            .collect();
        for (id, fault) in settled {
            self.end_everywhere(id, QueryState::Failed, fault, now, actions);
            // Its head has let go of it already: it said so.
            self.drained(id);
        }
    }

    fn end_late(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let late: Vec<(QueryId, bool)> = self
            .queries
            .live
            .values()
            .filter(|query| time_is_over(query).is_some_and(|at| at <= now))
            .map(|query| (query.id, query.phase == Phase::Queued))
            .collect();
        for (id, is_queued) in late {
            let place = if is_queued { "in the queue" } else { "running" };
            let fault = Fault::new(
                ErrorCode::TimedOut,
                format!(
                    "query {} was still {place} when its time was over",
                    id.short()
                ),
            )
            .with_hint("raise `--timeout` or the setting query.timeout");
            self.end_everywhere(id, QueryState::Failed, fault, now, actions);
        }
    }

    fn give_up_unlisted(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_unlisted = |query: &&Query| {
            let head = query.head.and_then(|rank| self.engines.get(rank));
            let is_reporting = head.is_some_and(|head| head.state == EngineState::Up);
            query.phase == Phase::Running
                && query.confirm_until.is_none()
                && is_reporting
                && now.since(query.last_listed) >= UNLISTED_WAIT
        };
        let unlisted = self.queries.live.values().filter(is_unlisted);
        let unlisted: Vec<QueryId> = unlisted.map(|query| query.id).collect();
        for id in unlisted {
            let fault = Fault::internal(format!(
                "query {}: its head engine reports, but not this query for {UNLISTED_WAIT:?}",
                id.short()
            ));
            self.end_everywhere(id, QueryState::Failed, fault, now, actions);
        }
    }

    fn no_engine_deadline(&self) -> Option<Moment> {
        let is_waiting = self.admission.queued() > 0;
        let since = self.no_member_since.filter(|_| is_waiting)?;
        Some(since.after(NO_ENGINE_WAIT))
    }

    fn give_up_without_engines(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.no_engine_deadline().is_none_or(|until| until > now) {
            return;
        }
        for id in self.admission.order() {
            let fault = self.missing_engines(1);
            self.finish(id, failed(fault), now, actions);
        }
    }

    /// The queries that keep their place in the queue while an engine is missing, and until when.
    fn held(&self) -> impl Iterator<Item = (QueryId, Moment)> {
        let wait = match self.no_member_since {
            _ if self.engines.is_one_given_up() => Some(Duration::ZERO),
            None => Some(ALL_ENGINES_WAIT),
            // All of them may be about to come: the wait for any engine ends theirs.
            Some(_) => None,
        };
        let since = self.missing_since.zip(wait);
        let queries = self.queries.live.values();
        queries.filter_map(move |query| {
            let (since, wait) = since?;
            let is_held = query.phase == Phase::Queued && query.share == Share::Place;
            is_held.then(|| (query.id, since.max(query.submitted).after(wait)))
        })
    }

    fn give_up_held(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let late = self.held().filter(|(_, until)| *until <= now);
        let late: Vec<QueryId> = late.map(|(id, _)| id).collect();
        for id in late {
            let fault = self.missing_engines(self.engines.wanted).with_hint(
                "a query runs on all engines: `bireme cluster restart` starts them anew, `bireme cluster logs` shows what they say",
            );
            self.finish(id, failed(fault), now, actions);
        }
    }

    /// Queries in the queue whose client went away are not worth a place.
    fn cancel_unfollowed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let mut alone = Vec::new();
        for query in self.queries.live.values_mut() {
            if query.phase != Phase::Queued || query.unfollowed.is_none_or(|until| until > now) {
                continue;
            }
            if query.events.receiver_count() == 0 {
                alone.push(query.id);
            } else {
                // Somebody else follows it, and may go too.
                query.unfollowed = Some(now.after(FOLLOWER_WAIT));
            }
        }
        for id in alone {
            let message = format!("query {} was cancelled: its client went away", id.short());
            let fault = Fault::new(ErrorCode::Cancelled, message);
            self.end_everywhere(id, QueryState::Cancelled, fault, now, actions);
        }
    }
}

fn time_is_over(query: &Query) -> Option<Moment> {
    let slack = match query.phase {
        Phase::Queued => Duration::ZERO,
        Phase::Starting | Phase::Running => TIMEOUT_SLACK,
    };
    query.deadline.map(|deadline| deadline.after(slack))
}

/// When a query needs attention next.
fn due(query: &Query) -> Option<Moment> {
    let suspected = query.suspected.as_ref().map(|(_, until)| *until);
    let unlisted = (query.phase == Phase::Running && query.confirm_until.is_none())
        .then(|| query.last_listed.after(UNLISTED_WAIT));
    let unfollowed = query.unfollowed.filter(|_| query.phase == Phase::Queued);
    [
        time_is_over(query),
        suspected,
        query.confirm_until,
        unlisted,
        unfollowed,
    ]
    .into_iter()
    .flatten()
    .min()
}
