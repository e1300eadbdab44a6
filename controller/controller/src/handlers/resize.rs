//! Another number of engines: those that leave first give their rows to the others and end their
//! queries. Where the rows cannot go, the cluster stays as it was. Moving rows is the rebuilds' part.

use crate::action::Action;
use crate::clock::Moment;
use crate::handlers::cluster::too_many;
use crate::message::{Reply, answer};
use crate::state::State;
use crate::state::engine_registry::EngineState;
use crate::state::waiting::{Resize, WAITING_MAX};
use bireme_protocol::{ErrorCode, Fault};
use std::time::Duration;

/// How long queries on engines that leave may take to end.
const QUERIES_DRAIN: Duration = Duration::from_secs(30);

/// A frame with rows on an engine that is to leave.
struct Stranded {
    frame: String,
    rank: u32,
    /// Why they stay there, if nobody moves them.
    reason: Option<String>,
}

impl State {
    /// Sets how many engines there shall be. The others leave the topology at once.
    pub(super) fn resize(
        &mut self,
        engines: u32,
        limit: Duration,
        reply: Reply<()>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if self.waiting.resizes.len() >= WAITING_MAX {
            return answer(reply, Err(too_many("scale")));
        }
        let before = self.engines.wanted;
        tracing::info!(engines, before, "cluster is resized");
        self.waiting.resizes.push(Resize {
            engines,
            before,
            until: now.after(limit.min(QUERIES_DRAIN)),
            moved_until: now.after(limit),
            reply,
        });
        self.want(engines, now, actions);
    }

    fn want(&mut self, engines: u32, now: Moment, actions: &mut Vec<Action>) {
        self.engines.wanted = engines;
        self.segments.retry_moves();
        self.missing_since = Some(now);
        for engine in self.engines.iter_mut() {
            let is_surplus = engine.rank >= engines;
            engine.state = match engine.state {
                EngineState::Up | EngineState::Suspected if is_surplus => EngineState::Leaving,
                EngineState::Leaving if !is_surplus => EngineState::Up,
                state => state,
            };
        }
        self.engines.forget_surplus();
        self.announce(now, actions);
    }

    /// Answers those whose engines may leave now, or cannot, and forgets those nobody waits for.
    pub(super) fn answer_resizes(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for resize in std::mem::take(&mut self.waiting.resizes) {
            if resize.reply.is_closed() {
                tracing::info!(engines = resize.engines, "who asked for a resize has gone");
                self.undo(&resize, now, actions);
                continue;
            }
            if self.engines.wanted != resize.engines {
                let reason = format!("{} have been asked for meanwhile", self.engines.wanted);
                let fault = refused(&resize, &reason);
                answer(resize.reply, Err(fault));
                continue;
            }
            match self.stranded(resize.engines) {
                Some(stranded) if stranded.reason.is_some() => {
                    self.refuse(resize, &stranded, now, actions);
                }
                Some(_) => self.waiting.resizes.push(resize),
                None if self.is_busy_from(resize.engines) => self.waiting.resizes.push(resize),
                None => answer(resize.reply, Ok(())),
            }
        }
    }

    /// Answers those who waited too long.
    pub(super) fn expire_resizes(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for resize in std::mem::take(&mut self.waiting.resizes) {
            match self.stranded(resize.engines) {
                Some(stranded) if resize.moved_until <= now => {
                    self.refuse(resize, &stranded, now, actions);
                }
                None if resize.until <= now => {
                    let engines = resize.engines;
                    tracing::warn!(engines, "engines that leave still run queries");
                    answer(resize.reply, Ok(()));
                }
                _ => self.waiting.resizes.push(resize),
            }
        }
    }

    fn is_busy_from(&self, engines: u32) -> bool {
        let mut leaving = self.engines.iter().filter(|engine| engine.rank >= engines);
        leaving.any(|engine| self.queries.on_engine(engine.rank) > 0)
    }

    /// A frame that has rows on a rank from this one on; one whose rows stay there before one whose
    /// rows are on their way. What is lost already is made again from what made it.
    fn stranded(&self, engines: u32) -> Option<Stranded> {
        let mut on_their_way = None;
        let entries = self.sessions.iter().flat_map(|session| &session.entries);
        for entry in entries {
            for segment in entry.frame.iter().flat_map(|frame| &frame.segments) {
                let missing = self.segments.missing(segment);
                let is_lost = missing.iter().any(|(_, has_come)| *has_come);
                let mut held = segment.partitions.iter().filter(|part| part.rows > 0);
                let Some(part) = held.find(|part| part.rank >= engines && !is_lost) else {
                    continue;
                };
                let stranded = Stranded {
                    frame: entry.name.clone(),
                    rank: part.rank,
                    reason: self.segments.why_unmoved(&segment.id).map(str::to_string),
                };
                if stranded.reason.is_some() {
                    return Some(stranded);
                }
                on_their_way.get_or_insert(stranded);
            }
        }
        on_their_way
    }

    /// Says why engines do not leave, and keeps them.
    fn refuse(
        &mut self,
        resize: Resize,
        stranded: &Stranded,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.undo(&resize, now, actions);
        let Stranded { frame, rank, .. } = stranded;
        let reason = match &stranded.reason {
            Some(reason) => reason.as_str(),
            None => "they were not moved in time",
        };
        let reason = format!(
            "the frame {frame:?} has rows on engine {rank} that stay there: {reason}; the engines \
             stay too"
        );
        let hint = "see `%memory` for what fills the engines; `DROP TABLE` gives a frame up";
        let fault = refused(&resize, &reason).with_hint(hint);
        answer(resize.reply, Err(fault));
    }

    /// Keeps the engines there were before, unless somebody has asked for another number since.
    fn undo(&mut self, resize: &Resize, now: Moment, actions: &mut Vec<Action>) {
        if self.engines.wanted == resize.engines {
            self.want(resize.before, now, actions);
        }
    }
}

fn refused(resize: &Resize, reason: &str) -> Fault {
    let Resize {
        before, engines, ..
    } = resize;
    let message = format!("scale the cluster from {before} to {engines} engines: {reason}");
    Fault::new(ErrorCode::Unavailable, message)
}
