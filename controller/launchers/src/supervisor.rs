//! Owns the processes of a cluster: one event at a time, it decides what to start, stop and report.
//! It never waits: the loop in `run.rs` brings it events and the time.

use crate::command::ClusterCommands;
use crate::error::LauncherError;
use crate::exit::Exit;
use crate::launcher::{Ending, Launcher, ProcessSpec, StartedProcess};
use crate::log_tail::log_tail;
use crate::member::{Member, MemberState, Role};
use crate::restart_policy::Restart;
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::{ExitReport, Process};
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::Home;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A process told to end is forced to after this long.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Lines of a log an error carries.
const LOG_LINES: usize = 20;

/// Whether the cluster is kept alive, or which part of it is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    EndingEngines,
    EndingController,
    Over,
}

/// What the supervisor is made of.
pub(crate) struct SupervisorParts {
    pub(crate) home: Home,
    pub(crate) commands: ClusterCommands,
    /// The controller's socket: open here, so that nobody is refused while it restarts.
    pub(crate) listener: UnixListener,
    pub(crate) engines: u32,
    pub(crate) reports: mpsc::Sender<ExitReport>,
}

/// All processes of the cluster.
pub(crate) struct Supervisor {
    parts: SupervisorParts,
    members: BTreeMap<Role, Member>,
    phase: Phase,
    /// The first process that was given up, for those who wait for the cluster.
    failure: watch::Sender<Option<Fault>>,
}

impl Supervisor {
    pub(crate) fn new(parts: SupervisorParts, now: Instant) -> Self {
        let engines = (0..parts.engines).map(Role::Engine);
        let members = std::iter::once(Role::Controller)
            .chain(engines)
            .map(|role| (role, Member::new(role, &parts.home, now)))
            .collect();
        Self {
            parts,
            members,
            phase: Phase::Serving,
            failure: watch::Sender::new(None),
        }
    }

    pub(crate) fn failure(&self) -> watch::Receiver<Option<Fault>> {
        self.failure.subscribe()
    }

    pub(crate) fn engines(&self) -> u32 {
        self.parts.engines
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    pub(crate) fn has_failed_controller(&self) -> bool {
        let controller = self.members.get(&Role::Controller);
        controller.is_some_and(|member| member.state == MemberState::Ended { is_failed: true })
    }

    /// When [`Supervisor::tick`] has something to do next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.members.values().filter_map(Member::deadline).min()
    }

    pub(crate) fn processes(&self) -> Vec<Process> {
        self.members.values().map(Member::describe).collect()
    }

    /// Starts and forces what is due.
    pub(crate) fn tick(&mut self, launcher: &mut dyn Launcher, now: Instant) {
        let due: Vec<Role> = self
            .members
            .values()
            .filter(|member| member.deadline().is_some_and(|at| at <= now))
            .map(|member| member.role)
            .collect();
        for role in due {
            match self.members.get(&role).map(|member| member.state) {
                Some(MemberState::Restarting(_)) => self.start(role, launcher, now),
                Some(MemberState::Stopping(process, _)) => {
                    launcher.stop(process, Ending::Force);
                    self.set_state(role, MemberState::Stopping(process, now + STOP_GRACE));
                }
                _ => {}
            }
        }
    }

    /// Notes that a process ended.
    pub(crate) fn ended(
        &mut self,
        process: StartedProcess,
        exit: Exit,
        launcher: &mut dyn Launcher,
        now: Instant,
    ) {
        let role = self
            .members
            .values()
            .find(|member| member.process() == Some(process))
            .map(|member| member.role);
        let Some(role) = role else { return };
        if role == Role::Controller && exit.is_success() && self.phase == Phase::Serving {
            tracing::info!("controller ended by itself: the cluster was idle");
            self.set_ended(role, exit, false);
            return self.stop_all(launcher, now);
        }
        self.crashed(role, process, exit, now);
        self.advance(launcher, now);
    }

    /// Makes the cluster have this many engines.
    pub(crate) fn scale(&mut self, engines: u32, launcher: &mut dyn Launcher, now: Instant) {
        if self.phase != Phase::Serving {
            return;
        }
        self.parts.engines = engines;
        let surplus: Vec<Role> = self
            .members
            .keys()
            .copied()
            .filter(|role| matches!(role, Role::Engine(rank) if *rank >= engines))
            .collect();
        for role in surplus {
            self.ask_to_end(role, launcher, now);
        }
        for role in (0..engines).map(Role::Engine) {
            let member = self.members.get(&role);
            if member.is_none_or(|member| matches!(member.state, MemberState::Ended { .. })) {
                let fresh = Member::new(role, &self.parts.home, now);
                self.members.insert(role, fresh);
            }
        }
        self.tick(launcher, now);
    }

    /// Ends the engines, then the controller.
    pub(crate) fn stop_all(&mut self, launcher: &mut dyn Launcher, now: Instant) {
        if self.phase == Phase::Serving {
            self.phase = Phase::EndingEngines;
            let engines: Vec<Role> = self.engine_roles().collect();
            for role in engines {
                self.ask_to_end(role, launcher, now);
            }
        }
        self.advance(launcher, now);
    }

    /// Goes on with ending once all of a kind have ended.
    fn advance(&mut self, launcher: &mut dyn Launcher, now: Instant) {
        self.forget_surplus();
        let is_running = |role: &Role| self.members[role].process().is_some();
        if self.phase == Phase::EndingEngines && !self.engine_roles().any(|role| is_running(&role))
        {
            self.phase = Phase::EndingController;
            self.ask_to_end(Role::Controller, launcher, now);
        }
        let controller = self.members.get(&Role::Controller);
        let is_ended = controller.is_none_or(|member| member.process().is_none());
        if self.phase == Phase::EndingController && is_ended {
            self.phase = Phase::Over;
        }
        if self.phase == Phase::Serving && self.has_failed_controller() {
            tracing::error!("controller crashed too often: the cluster ends");
            self.stop_all(launcher, now);
        }
    }

    /// Engines above the wanted number are no longer listed once they have ended.
    fn forget_surplus(&mut self) {
        let engines = self.parts.engines;
        self.members.retain(|role, member| {
            let is_surplus = matches!(role, Role::Engine(rank) if *rank >= engines);
            !is_surplus || member.process().is_some()
        });
    }

    fn engine_roles(&self) -> impl Iterator<Item = Role> {
        let roles = self.members.keys().copied();
        roles.filter(|role| matches!(role, Role::Engine(_)))
    }

    fn ask_to_end(&mut self, role: Role, launcher: &mut dyn Launcher, now: Instant) {
        match self.members.get(&role).map(|member| member.state) {
            Some(MemberState::Running(process)) => {
                launcher.stop(process, Ending::Ask);
                self.set_state(role, MemberState::Stopping(process, now + STOP_GRACE));
            }
            Some(MemberState::Restarting(_)) => {
                self.set_state(role, MemberState::Ended { is_failed: false });
            }
            _ => {}
        }
    }

    fn start(&mut self, role: Role, launcher: &mut dyn Launcher, now: Instant) {
        let started = self.spec(role).and_then(|spec| launcher.start(spec));
        match started {
            Ok(process) => {
                self.set_state(role, MemberState::Running(process));
                if let Some(member) = self.members.get_mut(&role) {
                    member.started_at_ms = now_ms();
                }
            }
            Err(error) => {
                tracing::error!(name = %role, error = %Fault::from(error), "process does not start");
                self.crashed(role, StartedProcess(0), Exit::NotStarted, now);
                self.advance(launcher, now);
            }
        }
    }

    fn spec(&self, role: Role) -> Result<ProcessSpec, LauncherError> {
        let parts = &self.parts;
        let (command, stdin) = match role {
            Role::Controller => {
                let socket = parts.listener.as_fd().try_clone_to_owned();
                let socket: OwnedFd = socket.map_err(|error| {
                    LauncherError::system("hand the controller its socket", error)
                })?;
                (parts.commands.controller(parts.engines), Some(socket))
            }
            Role::Engine(rank) => (parts.commands.engine(rank, parts.engines), None),
        };
        Ok(ProcessSpec {
            name: role.to_string(),
            command,
            log: role.log(&parts.home),
            stdin,
        })
    }

    /// Notes an end nobody asked for, or one that was: decides on a restart and reports it.
    fn crashed(&mut self, role: Role, process: StartedProcess, exit: Exit, now: Instant) {
        let is_serving = self.phase == Phase::Serving;
        let Some(member) = self.members.get_mut(&role) else {
            return;
        };
        let was_asked = matches!(member.state, MemberState::Stopping(..)) || !is_serving;
        let restart = if was_asked {
            None
        } else {
            Some(member.policy.ended(now))
        };
        if let Some(Restart::After(pause)) = restart {
            member.last_exit = Some(exit);
            member.restarts += 1;
            member.state = MemberState::Restarting(now + pause);
        } else {
            self.set_ended(role, exit, restart.is_some());
        }
        let is_failed = matches!(restart, Some(Restart::GiveUp { .. }));
        if let Some(Restart::GiveUp { ends, window }) = restart {
            self.publish_failure(role, exit, ends, window);
        }
        if let Role::Engine(rank) = role {
            self.report(rank, process, exit, is_failed);
        }
    }

    fn publish_failure(&self, role: Role, exit: Exit, ends: usize, window: Duration) {
        let mut fault = Fault::new(
            ErrorCode::Unavailable,
            format!("run {role}: it ended {ends} times within {window:?}, last with {exit}, and is not started again"),
        )
        .with_hint("`bireme cluster logs` shows its log; `bireme cluster restart` tries again");
        fault.causes = log_tail(&role.log(&self.parts.home), LOG_LINES);
        if let Role::Engine(rank) = role {
            fault = fault.on_engine(rank);
        }
        tracing::error!(name = %role, %exit, ends, "process is given up");
        self.failure.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(fault);
            is_first
        });
    }

    fn report(&self, rank: u32, process: StartedProcess, exit: Exit, given_up: bool) {
        let report = ExitReport {
            rank,
            pid: process.0,
            how: exit.to_string(),
            given_up,
        };
        if self.parts.reports.try_send(report).is_err() {
            tracing::warn!(rank, %exit, "the controller is not told how an engine ended");
        }
    }

    fn set_state(&mut self, role: Role, state: MemberState) {
        if let Some(member) = self.members.get_mut(&role) {
            member.state = state;
        }
    }

    fn set_ended(&mut self, role: Role, exit: Exit, is_failed: bool) {
        if let Some(member) = self.members.get_mut(&role) {
            member.last_exit = Some(exit);
            member.state = MemberState::Ended { is_failed };
        }
    }
}
