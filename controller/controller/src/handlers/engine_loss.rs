//! An engine is lost: the others hear of it at once, its queries fail with how it ended.

use crate::action::Action;
use crate::clock::Moment;
use crate::state::State;
use crate::state::engine_loss::{EXIT_REPORT_WAIT, Loss};
use crate::state::engine_registry::EngineState;
use crate::state::query_table::Phase;
use bireme_protocol::QueryId;
use bireme_protocol::proto::QueryState;

impl State {
    /// Notes that an engine is gone. `seen` ends the sentence "engine 1 (pid 7) ...".
    pub(super) fn lose(&mut self, rank: u32, seen: &str, now: Moment, actions: &mut Vec<Action>) {
        let Some(engine) = self.engines.get_mut(rank) else {
            return;
        };
        let was_member = engine.is_member();
        if engine.state != EngineState::Failed {
            engine.state = EngineState::Lost;
        }
        let pid = engine.pid;
        let known_exit = engine.last_exit.clone().filter(|(ended, _)| *ended == pid);
        tracing::warn!(rank, pid, seen, "engine lost");
        let loss = Loss {
            rank,
            pid,
            seen: seen.to_string(),
            until: now.after(EXIT_REPORT_WAIT),
            queries: self.queries_of(rank),
        };
        self.release_drained_by(rank);
        self.segments.forget_engine(rank);
        match known_exit {
            Some((_, how)) => self.settle_loss(&loss, Some(&how), now, actions),
            None if loss.queries.is_empty() => {}
            None => self.losses.open.push(loss),
        }
        self.engines.forget_surplus();
        if was_member {
            self.announce(now, actions);
        }
    }

    /// Fails the queries of a lost engine.
    pub(super) fn settle_loss(
        &mut self,
        loss: &Loss,
        how: Option<&str>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        for id in &loss.queries {
            if self.queries.live.contains_key(id) {
                let fault = loss.fault(*id, how);
                self.end_everywhere(*id, QueryState::Failed, fault, now, actions);
            }
        }
    }

    fn queries_of(&self, rank: u32) -> Vec<QueryId> {
        self.queries
            .live
            .values()
            .filter(|query| query.phase != Phase::Queued && query.engines.contains(&rank))
            .map(|query| query.id)
            .collect()
    }

    /// What a lost engine was to confirm, it will not.
    fn release_drained_by(&mut self, rank: u32) {
        let drained: Vec<QueryId> = self
            .queries
            .draining
            .iter()
            .filter(|(_, draining)| draining.head == Some(rank))
            .map(|(id, _)| *id)
            .collect();
        for id in drained {
            self.drained(id);
        }
    }
}
