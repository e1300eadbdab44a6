//! Who is there: the engines by rank, how to reach them, and what they last said.

use crate::clock::Moment;
use crate::engine_client::EngineClient;
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::{
    EngineAddress, EngineCommand, EngineStatus, Heartbeat, Topology, engine_command,
};
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// One connection of an engine: messages of an earlier one are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttachmentId {
    pub(crate) rank: u32,
    pub(crate) serial: u64,
}

/// Where an engine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EngineState {
    Up,
    Suspected,
    /// Out of the topology and about to be stopped.
    Leaving,
    Lost,
    /// It crashed too often and is not started again.
    Failed,
}

/// One rank, over all processes that had it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) rank: u32,
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) slot: String,
    pub(crate) state: EngineState,
    pub(crate) serial: u64,
    /// Its connection, while it has one.
    pub(crate) commands: Option<mpsc::Sender<EngineCommand>>,
    pub(crate) client: Option<EngineClient>,
    pub(crate) last_heard: Moment,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) started_at_ms: i64,
    pub(crate) restarts: u32,
    /// How its last process ended: its pid, and the words of the launcher.
    pub(crate) last_exit: Option<(u32, String)>,
}

impl Engine {
    fn new(rank: u32, now: Moment) -> Self {
        Self {
            rank,
            pid: 0,
            address: String::new(),
            slot: String::new(),
            state: EngineState::Lost,
            serial: 0,
            commands: None,
            client: None,
            last_heard: now,
            heartbeat: Heartbeat::default(),
            started_at_ms: now_ms(),
            restarts: 0,
            last_exit: None,
        }
    }

    /// Whether it may take part in queries.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self.state, EngineState::Up | EngineState::Suspected)
    }

    fn describe(&self, queries: u32) -> EngineStatus {
        let state = match self.state {
            EngineState::Up => "up",
            EngineState::Suspected => "suspected",
            EngineState::Leaving => "leaving",
            EngineState::Lost => "lost",
            EngineState::Failed => "failed",
        };
        EngineStatus {
            rank: self.rank,
            pid: self.pid,
            address: self.address.clone(),
            slot: self.slot.clone(),
            state: state.to_string(),
            started_at_ms: self.started_at_ms.unsigned_abs(),
            restarts: self.restarts,
            resident_bytes: self.heartbeat.resident_bytes,
            memory_limit: self.heartbeat.memory_limit,
            memory_reserved: self.heartbeat.memory_reserved,
            spill_bytes: self.heartbeat.spill_bytes,
            queries,
            last_exit: self
                .last_exit
                .as_ref()
                .map(|(pid, how)| format!("pid {pid}: {how}"))
                .unwrap_or_default(),
        }
    }
}

/// An engine that is to head a query, and how to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) rank: u32,
    pub(crate) address: String,
    pub(crate) client: EngineClient,
}

/// All engines, by rank.
#[derive(Debug)]
pub(crate) struct EngineRegistry {
    pub(crate) wanted: u32,
    engines: BTreeMap<u32, Engine>,
    topology_version: u64,
    serial: u64,
}

impl EngineRegistry {
    pub(crate) fn new(wanted: u32) -> Self {
        Self {
            wanted,
            engines: BTreeMap::new(),
            // Later than every version of an earlier controller, which engines remember.
            topology_version: now_ms().unsigned_abs(),
            serial: 0,
        }
    }

    pub(crate) fn get(&self, rank: u32) -> Option<&Engine> {
        self.engines.get(&rank)
    }

    pub(crate) fn get_mut(&mut self, rank: u32) -> Option<&mut Engine> {
        self.engines.get_mut(&rank)
    }

    /// The engine behind a connection, if that is still its latest one.
    pub(crate) fn attached(&mut self, attachment: AttachmentId) -> Option<&mut Engine> {
        let engine = self.engines.get_mut(&attachment.rank)?;
        (engine.serial == attachment.serial && engine.commands.is_some()).then_some(engine)
    }

    pub(crate) fn rank_mut(&mut self, rank: u32, now: Moment) -> &mut Engine {
        self.engines
            .entry(rank)
            .or_insert_with(|| Engine::new(rank, now))
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Engine> {
        self.engines.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Engine> {
        self.engines.values_mut()
    }

    /// Engines that may take part in queries.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Engine> {
        self.engines.values().filter(|engine| engine.is_member())
    }

    pub(crate) fn member_count(&self) -> u32 {
        u32::try_from(self.members().count()).unwrap_or(u32::MAX)
    }

    /// Whether every wanted rank is up: only then may a query run on all of them.
    pub(crate) fn are_all_up(&self) -> bool {
        let is_up = |rank| self.get(rank).is_some_and(|e| e.state == EngineState::Up);
        (0..self.wanted).all(is_up)
    }

    /// Whether a wanted rank is given up: it does not come back by itself.
    pub(crate) fn is_one_given_up(&self) -> bool {
        let mut wanted = self.engines.range(..self.wanted);
        wanted.any(|(_, engine)| engine.state == EngineState::Failed)
    }

    /// The engine to head a query: one that is up before one that is suspected, then the one that
    /// heads the fewest, then the lowest rank.
    pub(crate) fn choose_head(&self, heading: impl Fn(u32) -> usize) -> Option<Head> {
        let head = self.members().min_by_key(|engine| {
            let is_suspected = engine.state == EngineState::Suspected;
            (is_suspected, heading(engine.rank), engine.rank)
        })?;
        Some(Head {
            rank: head.rank,
            address: head.address.clone(),
            client: head.client.clone()?,
        })
    }

    pub(crate) fn client(&self, rank: u32) -> Option<EngineClient> {
        self.engines.get(&rank)?.client.clone()
    }

    /// Clients of all engines that have a connection.
    pub(crate) fn clients(&self) -> Vec<(u32, EngineClient)> {
        self.engines
            .values()
            .filter(|engine| engine.commands.is_some())
            .filter_map(|engine| Some((engine.rank, engine.client.clone()?)))
            .collect()
    }

    /// Forgets ranks that are gone for good.
    pub(crate) fn forget_surplus(&mut self) {
        let wanted = self.wanted;
        self.engines
            .retain(|rank, engine| *rank < wanted || engine.commands.is_some());
    }

    /// Tells one topology from another; later ones have higher numbers, also after a restart.
    pub(crate) fn topology_version(&self) -> u64 {
        self.topology_version
    }

    fn lost_ranks(&self) -> Vec<u32> {
        let is_lost = |engine: &&Engine| {
            engine.rank < self.wanted
                && matches!(engine.state, EngineState::Lost | EngineState::Failed)
        };
        self.engines
            .values()
            .filter(is_lost)
            .map(|engine| engine.rank)
            .collect()
    }

    /// Tells all engines who is there. Ranks whose connection takes no more are returned.
    pub(crate) fn announce(&mut self) -> Vec<u32> {
        self.topology_version += 1;
        let topology = Topology {
            version: self.topology_version,
            engines: self
                .members()
                .map(|engine| EngineAddress {
                    rank: engine.rank,
                    address: engine.address.clone(),
                })
                .collect(),
            wanted: self.wanted,
            lost: self.lost_ranks(),
        };
        let ranks: Vec<u32> = self.engines.keys().copied().collect();
        ranks
            .into_iter()
            .filter(|rank| !self.send(*rank, engine_command::Command::Topology(topology.clone())))
            .collect()
    }

    /// Sends to an engine; false when it has a connection that takes no more.
    pub(crate) fn send(&self, rank: u32, command: engine_command::Command) -> bool {
        let commands = self.engines.get(&rank).and_then(|e| e.commands.as_ref());
        let message = EngineCommand {
            command: Some(command),
        };
        commands.is_none_or(|commands| commands.try_send(message).is_ok())
    }

    /// Every wanted rank, those that never came as "starting".
    pub(crate) fn describe(&self, queries: impl Fn(u32) -> u32) -> Vec<EngineStatus> {
        let mut all: Vec<EngineStatus> = self
            .engines
            .values()
            .map(|engine| engine.describe(queries(engine.rank)))
            .collect();
        for rank in (0..self.wanted).filter(|rank| !self.engines.contains_key(rank)) {
            all.push(EngineStatus {
                rank,
                state: "starting".to_string(),
                ..EngineStatus::default()
            });
        }
        all.sort_by_key(|status| status.rank);
        all
    }
}
