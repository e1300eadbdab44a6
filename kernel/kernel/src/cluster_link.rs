//! The kernel's connection to its cluster: made on first need, kept, and made anew when the cluster
//! was stopped or restarted meanwhile.

use crate::attach::{SessionRequest, open, open_or_start};
use crate::options::KernelOptions;
use crate::session_settings::SessionSettings;
use bireme_client::Session;
use bireme_launchers::ClusterLock;
use bireme_protocol::Fault;
use bireme_settings::Home;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// The way to the cluster of one kernel.
#[derive(Debug)]
pub(crate) struct ClusterLink {
    home: Home,
    program: PathBuf,
    request: SessionRequest,
    settings: Arc<SessionSettings>,
    attached: Mutex<Option<Attached>>,
    /// One attempt at a time: two cells must not start two clusters.
    attempts: Semaphore,
}

#[derive(Clone, Debug)]
struct Attached {
    session: Session,
    /// The launcher then; another one, or none, means another cluster.
    launcher: Option<u32>,
    /// Tells that this kernel is there, as long as it is.
    _attendance: Arc<JoinSet<()>>,
}

/// How often a kernel says that it is there, at most and at least.
const ATTEND_EVERY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(300));

/// Says again and again that somebody is there, before frames kept for `keep` would go.
async fn attend(session: Session, keep: Duration) {
    let (least, most) = ATTEND_EVERY;
    // Without an end there is nothing to prevent.
    if keep.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep((keep / 4).clamp(least, most)).await;
        if let Err(fault) = session.attend().await {
            tracing::debug!(%fault, "the cluster does not hear that this kernel is there");
        }
    }
}

impl ClusterLink {
    pub(crate) fn new(options: &KernelOptions, settings: Arc<SessionSettings>) -> Self {
        Self {
            home: options.home.clone(),
            program: options.program.clone(),
            request: SessionRequest {
                name: options.session.clone(),
                client: options.client,
                directory: options.directory.clone(),
            },
            settings,
            attached: Mutex::default(),
            attempts: Semaphore::new(1),
        }
    }

    /// The cluster's directory.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The open session, when its cluster still runs.
    pub(crate) fn attached(&self) -> Option<Session> {
        let attached = self.lock().clone()?;
        (attached.launcher == self.launcher()).then_some(attached.session)
    }

    /// The open session; attaches, and starts a cluster, when there is none.
    pub(crate) async fn session(&self) -> Result<Session, Fault> {
        self.open(true).await
    }

    /// The open session; attaches when a cluster runs, and starts none.
    pub(crate) async fn session_if_running(&self) -> Result<Session, Fault> {
        self.open(false).await
    }

    async fn open(&self, may_start: bool) -> Result<Session, Fault> {
        if let Some(session) = self.attached() {
            return Ok(session);
        }
        let permit = self.attempts.acquire().await;
        let _permit = permit.map_err(|_| Fault::internal("attach: the kernel is ending"))?;
        // Another cell may have been first.
        if let Some(session) = self.attached() {
            return Ok(session);
        }
        let session = match may_start {
            true => {
                let settings = self.settings.current();
                open_or_start(&self.home, &self.program, &settings, &self.request).await?
            }
            false => open(&self.home, &self.request).await?,
        };
        self.settings.meet(&session).await?;
        let launcher = self.launcher();
        let keep = self.settings.current().duration("session.keep_frames");
        let mut attendance = JoinSet::new();
        attendance.spawn(attend(session.clone(), keep));
        *self.lock() = Some(Attached {
            session: session.clone(),
            launcher,
            _attendance: Arc::new(attendance),
        });
        Ok(session)
    }

    /// Waits until what was asked of the cluster at the end has been sent.
    pub(crate) async fn settle(&self) {
        let attached = self.lock().clone();
        if let Some(attached) = attached {
            attached.session.cluster().settle().await;
        }
    }

    fn launcher(&self) -> Option<u32> {
        // A lock that cannot be looked at says nothing: the next call to the cluster will.
        ClusterLock::holder(&self.home).ok().flatten()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Attached>> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
