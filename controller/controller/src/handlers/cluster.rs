//! The cluster as a whole: what it looks like, who waits for its engines.

use crate::clock::Moment;
use crate::message::{Reply, answer};
use crate::state::State;
use crate::state::engine_registry::EngineState;
use crate::state::waiting::{EngineWait, WAITING_MAX};
use bireme_protocol::process::resident_bytes;
use bireme_protocol::proto::ClusterStatus;
use bireme_protocol::{ErrorCode, Fault, build_id};
use std::time::Duration;

impl State {
    pub(super) fn status(&self) -> ClusterStatus {
        let queries = |rank| self.queries.on_engine(rank);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        ClusterStatus {
            cluster_id: self.cluster_id.clone(),
            build_id: build_id().to_string(),
            controller_pid: std::process::id(),
            started_at_ms: self.started_at_ms.unsigned_abs(),
            engines: self.engines.describe(queries),
            engines_wanted: self.engines.wanted,
            sessions: count(self.sessions.count()),
            queries_running: count(self.queries.running()),
            queries_queued: count(self.admission.queued()),
            controller_resident_bytes: resident_bytes(),
        }
    }

    pub(super) fn wait_engines(
        &mut self,
        engines: u32,
        limit: Duration,
        reply: Reply<ClusterStatus>,
        now: Moment,
    ) {
        if self.waiting.engines.len() >= WAITING_MAX {
            return answer(reply, Err(too_many("wait for engines")));
        }
        self.waiting.engines.push(EngineWait {
            engines,
            until: now.after(limit),
            reply,
        });
    }

    /// Answers those whose time has come.
    pub(super) fn answer_waiting(&mut self) {
        let up = self.up_count();
        let ready = |wait: &mut EngineWait| wait.engines <= up;
        let ready: Vec<EngineWait> = self.waiting.engines.extract_if(.., ready).collect();
        for wait in ready {
            answer(wait.reply, Ok(self.status()));
        }
    }

    /// Answers those who waited too long.
    pub(super) fn expire_waiting(&mut self, now: Moment) {
        let late = |wait: &mut EngineWait| wait.until <= now;
        let late: Vec<EngineWait> = self.waiting.engines.extract_if(.., late).collect();
        for wait in late {
            let fault = self.missing_engines(wait.engines);
            answer(wait.reply, Err(fault));
        }
    }

    pub(super) fn note_members(&mut self, now: Moment) {
        if self.engines.member_count() > 0 {
            self.no_member_since = None;
        } else {
            self.no_member_since.get_or_insert(now);
        }
        if self.engines.are_all_up() {
            self.missing_since = None;
        } else {
            self.missing_since.get_or_insert(now);
        }
    }

    pub(super) fn missing_engines(&self, engines: u32) -> Fault {
        let missing: Vec<String> = self
            .engines
            .describe(|_| 0)
            .into_iter()
            .filter(|engine| engine.state != "up")
            .map(|engine| {
                let state = match engine.state.as_str() {
                    "failed" => "given up: it crashed too often",
                    state => state,
                };
                match engine.last_exit.as_str() {
                    "" => format!("engine {} is {state}", engine.rank),
                    exit => format!("engine {} is {state} ({exit})", engine.rank),
                }
            })
            .collect();
        Fault::new(
            ErrorCode::Unavailable,
            format!(
                "wait for {engines} engines: {} of {} are up; {}",
                self.up_count(),
                self.engines.wanted,
                missing.join(", ")
            ),
        )
        .with_hint("`bireme cluster logs` shows what they say")
    }

    fn up_count(&self) -> u32 {
        let up = self.engines.iter().filter(|e| e.state == EngineState::Up);
        u32::try_from(up.count()).unwrap_or(u32::MAX)
    }
}

pub(super) fn too_many(tried: &str) -> Fault {
    Fault::new(
        ErrorCode::Unavailable,
        format!("{tried}: {WAITING_MAX} others wait for that already"),
    )
}
