//! Starts, watches and ends the processes of a cluster.
//!
//! [`start_cluster`] brings a cluster up from any process, or attaches to the one that runs;
//! [`run_launcher`] is the launcher process itself: parent and subreaper of the controller and the
//! engines, it restarts what dies and tells the controller how it ended. Where processes run is
//! behind the [`Launcher`] trait. What they do is theirs; this crate knows no query.

mod cluster;
mod cluster_lock;
mod command;
mod controller_link;
mod error;
mod exit;
mod launcher;
mod local;
mod log_file;
mod log_tail;
mod member;
mod parent_death;
mod restart_policy;
mod run;
mod running_process;
mod service;
mod supervisor;

pub use cluster::{StartOptions, StartedCluster, start_cluster, stop_cluster};
pub use cluster_lock::ClusterLock;
pub use command::{ClusterCommands, ProcessCommand};
pub use error::LauncherError;
pub use exit::Exit;
pub use launcher::{Ending, Launcher, ProcessSpec, StartedProcess};
pub use local::LocalLauncher;
pub use log_file::LogFile;
pub use log_tail::log_tail;
pub use restart_policy::{Restart, RestartPolicy};
pub use run::{ENGINES_MAX, LauncherOptions, run_launcher};
