//! From a home to an open session: attaches to the cluster that runs there, or starts one first.

use crate::session_settings::{tell_given, with_directory};
use bireme_client::{Cluster, Session};
use bireme_launchers::{StartOptions, start_cluster};
use bireme_protocol::{ErrorCode, Fault, SessionName};
use bireme_settings::{Home, Settings};
use std::path::{Path, PathBuf};

/// Which session to open.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// Its name.
    pub name: SessionName,
    /// Who asks: `kernel`, `run` or `sql`.
    pub client: &'static str,
    /// Where relative paths of its statements begin.
    pub directory: PathBuf,
}

/// How `program` starts a cluster in a home.
pub fn start_options(program: &Path, home: &Home, settings: &Settings) -> StartOptions {
    let timeout = settings.duration("cluster.start_timeout");
    StartOptions::of_program(program, home, settings.engines(), timeout)
}

/// Opens a session on the cluster of a home, and starts the cluster when there is none. The session
/// is told the settings this process was given.
///
/// # Errors
/// The cluster does not start, runs another build, or does not answer.
pub async fn attach_or_start(
    home: &Home,
    program: &Path,
    settings: &Settings,
    request: &SessionRequest,
) -> Result<Session, Fault> {
    let session = open_or_start(home, program, settings, request).await?;
    let settings = with_directory(settings, &request.directory);
    tell_given(&session, &settings).await?;
    Ok(session)
}

/// Opens a session without telling it anything, and starts the cluster when there is none.
pub(crate) async fn open_or_start(
    home: &Home,
    program: &Path,
    settings: &Settings,
    request: &SessionRequest,
) -> Result<Session, Fault> {
    match open(home, request).await {
        Err(fault) if fault.code == ErrorCode::Unavailable => {
            start_cluster(home, &start_options(program, home, settings)).await?;
            open(home, request).await
        }
        opened => opened,
    }
}

/// Opens a session on the cluster that runs in a home.
pub(crate) async fn open(home: &Home, request: &SessionRequest) -> Result<Session, Fault> {
    let cluster = Cluster::attach(home).await?;
    cluster.session(&request.name, request.client).await
}
