//! One process the launcher answers for, over all its restarts.

use crate::exit::Exit;
use crate::launcher::StartedProcess;
use crate::restart_policy::RestartPolicy;
use bireme_protocol::proto::Process;
use bireme_settings::Home;
use std::fmt;
use std::path::PathBuf;
use std::time::Instant;

/// What a process is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Controller,
    Engine(u32),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("controller"),
            Self::Engine(rank) => write!(f, "engine {rank}"),
        }
    }
}

impl Role {
    pub(crate) fn log(self, home: &Home) -> PathBuf {
        let name = match self {
            Self::Controller => "controller.log".to_string(),
            Self::Engine(rank) => format!("engine-{rank}.log"),
        };
        home.logs().join(name)
    }
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    Running(StartedProcess),
    /// Ended, and started again at this time.
    Restarting(Instant),
    /// Told to end, and forced to at this time.
    Stopping(StartedProcess, Instant),
    /// Ended too often, or for good.
    Ended {
        is_failed: bool,
    },
}

/// A process with its history.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) role: Role,
    pub(crate) state: MemberState,
    pub(crate) policy: RestartPolicy,
    pub(crate) restarts: u32,
    pub(crate) started_at_ms: i64,
    pub(crate) last_exit: Option<Exit>,
    pub(crate) log: PathBuf,
}

impl Member {
    /// A process that is due to start.
    pub(crate) fn new(role: Role, home: &Home, now: Instant) -> Self {
        Self {
            role,
            state: MemberState::Restarting(now),
            policy: RestartPolicy::default(),
            restarts: 0,
            started_at_ms: 0,
            last_exit: None,
            log: role.log(home),
        }
    }

    pub(crate) fn process(&self) -> Option<StartedProcess> {
        match self.state {
            MemberState::Running(process) | MemberState::Stopping(process, _) => Some(process),
            MemberState::Restarting(_) | MemberState::Ended { .. } => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            MemberState::Restarting(at) | MemberState::Stopping(_, at) => Some(at),
            MemberState::Running(_) | MemberState::Ended { .. } => None,
        }
    }

    pub(crate) fn describe(&self) -> Process {
        let state = match self.state {
            MemberState::Running(_) => "running",
            MemberState::Restarting(_) => "restarting",
            MemberState::Stopping(..) => "stopping",
            MemberState::Ended { is_failed: true } => "failed",
            MemberState::Ended { is_failed: false } => "ended",
        };
        Process {
            name: self.role.to_string(),
            pid: self.process().map_or(0, |process| process.0),
            started_at_ms: self.started_at_ms.unsigned_abs(),
            restarts: self.restarts,
            last_exit: self
                .last_exit
                .map(|exit| exit.to_string())
                .unwrap_or_default(),
            log: self.log.display().to_string(),
            state: state.to_string(),
        }
    }
}
