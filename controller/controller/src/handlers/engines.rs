//! Engines come, report and go.

use crate::action::Action;
use crate::clock::Moment;
use crate::engine_client::EngineClient;
use crate::state::State;
use crate::state::engine_registry::{AttachmentId, EngineState};
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::{
    EngineCommand, ExitReport, Heartbeat, Register, Registered, engine_command,
};
use bireme_protocol::{Address, ErrorCode, Fault, build_id};
use tokio::sync::mpsc;

impl State {
    /// Takes an engine in, or back.
    pub(super) fn attach(
        &mut self,
        register: Register,
        commands: mpsc::Sender<EngineCommand>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<AttachmentId, Fault> {
        let rank = register.rank;
        let hello = register.hello.unwrap_or_default();
        build_id::check(&format!("engine {rank}"), &hello.build_id)?;
        let address: Address = register.address.parse()?;
        let segments = register.segments;
        if rank >= self.engines.wanted {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!(
                    "register engine {rank}: this cluster has {} engines, ranks from 0",
                    self.engines.wanted
                ),
            ));
        }
        self.replace_process(rank, hello.pid, now, actions);
        let serial = self.engines.next_serial();
        let engine = self.engines.rank_mut(rank, now);
        if engine.pid != hello.pid {
            engine.started_at_ms = now_ms();
        }
        engine.pid = hello.pid;
        engine.address = register.address;
        engine.slot = register.slot;
        engine.state = EngineState::Up;
        engine.serial = serial;
        engine.commands = Some(commands);
        engine.client = Some(EngineClient::new(rank, &address));
        engine.last_heard = now;
        engine.heartbeat = Heartbeat::default();
        tracing::info!(rank, pid = engine.pid, address = %engine.address, "engine registered");
        self.missing_since = Some(now);
        let registered = Registered {
            cluster_id: self.cluster_id.clone(),
            heartbeat_interval_ms: u64::try_from(self.heartbeat_interval.as_millis())
                .unwrap_or(u64::MAX),
        };
        self.engines
            .send(rank, engine_command::Command::Registered(registered));
        self.segments_held(rank, segments);
        for report in register.running {
            self.query_reported(rank, &report, now, actions);
        }
        self.announce(now, actions);
        self.know_head_address(rank, now, actions);
        Ok(AttachmentId { rank, serial })
    }

    /// An engine whose rank another process takes is gone, whether or not that was noticed.
    fn replace_process(&mut self, rank: u32, pid: u32, now: Moment, actions: &mut Vec<Action>) {
        let Some(engine) = self.engines.get_mut(rank) else {
            return;
        };
        let was_attached = engine.commands.take().is_some();
        if was_attached && engine.pid != pid {
            self.lose(rank, "was replaced by another process", now, actions);
        }
    }

    /// Queries of an earlier controller learn where their head is.
    fn know_head_address(&mut self, rank: u32, now: Moment, actions: &mut Vec<Action>) {
        let Some(engine) = self.engines.get(rank) else {
            return;
        };
        for query in self.queries.live.values_mut() {
            if query.head == Some(rank) && query.head_address != engine.address {
                query.head_address.clone_from(&engine.address);
                actions.push(Action::Publish(query.events.clone(), query.event(0, now)));
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        attachment: AttachmentId,
        mut heartbeat: Heartbeat,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let rank = attachment.rank;
        let Some(engine) = self.engines.attached(attachment) else {
            return;
        };
        let running = std::mem::take(&mut heartbeat.running);
        engine.last_heard = now;
        engine.heartbeat = heartbeat;
        match engine.state {
            EngineState::Suspected => engine.state = EngineState::Up,
            EngineState::Lost => {
                tracing::info!(rank, "engine is heard again");
                engine.state = EngineState::Up;
                self.announce(now, actions);
            }
            EngineState::Up | EngineState::Leaving | EngineState::Failed => {}
        }
        for report in running {
            self.query_reported(rank, &report, now, actions);
        }
    }

    /// An engine's connection is closed: it has ended, since nothing lies between us.
    pub(super) fn detached(
        &mut self,
        attachment: AttachmentId,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(engine) = self.engines.attached(attachment) else {
            return;
        };
        engine.commands = None;
        self.lose(attachment.rank, "closed its connection", now, actions);
    }

    /// The launcher says how an engine ended, before or after its connection was seen to close.
    pub(super) fn exit_reported(
        &mut self,
        report: ExitReport,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (rank, pid) = (report.rank, report.pid);
        tracing::warn!(rank, pid, how = %report.how, given_up = report.given_up, "engine ended");
        if self.engines.get(rank).is_none() && rank >= self.engines.wanted {
            return;
        }
        let engine = self.engines.rank_mut(rank, now);
        engine.last_exit = Some((pid, report.how.clone()));
        engine.restarts += u32::from(!report.given_up);
        let is_this = engine.pid == pid;
        if is_this && engine.commands.take().is_some() {
            self.lose(rank, "ended", now, actions);
        }
        if report.given_up {
            self.engines.rank_mut(rank, now).state = EngineState::Failed;
        }
        let settled = self
            .losses
            .take(|loss| loss.rank == rank && loss.pid == pid);
        for loss in settled {
            self.settle_loss(&loss, Some(&report.how), now, actions);
        }
        self.engines.forget_surplus();
    }

    /// Tells all engines who is there. One that takes no more messages is lost.
    pub(super) fn announce(&mut self, now: Moment, actions: &mut Vec<Action>) {
        for rank in self.engines.announce() {
            if let Some(engine) = self.engines.get_mut(rank) {
                engine.commands = None;
            }
            self.lose(rank, "stopped reading what it is told", now, actions);
        }
    }
}
