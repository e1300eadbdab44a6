//! What the cells of one notebook share: settings, parameters, the cluster, Rust, the history.

use crate::catalog_names::CatalogNames;
use crate::cell_history::CellHistory;
use crate::cluster_link::ClusterLink;
use crate::options::KernelOptions;
use crate::parameters::Parameters;
use crate::rust::RustLink;
use crate::session_settings::{SessionSettings, check};
use bireme_magics::host::Restart;
use bireme_protocol::Fault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// The state of one kernel.
pub(crate) struct KernelState {
    pub(crate) settings: Arc<SessionSettings>,
    pub(crate) parameters: Arc<Parameters>,
    pub(crate) cluster: ClusterLink,
    pub(crate) rust: Arc<RustLink>,
    pub(crate) history: CellHistory,
    pub(crate) names: CatalogNames,
    /// Makes display ids unique over restarts: front ends keep the old ones.
    display_prefix: String,
    displays: AtomicU64,
}

impl KernelState {
    pub(crate) fn new(options: KernelOptions) -> Self {
        let options = Arc::new(options);
        let settings = SessionSettings::new(&options.settings, &options.directory);
        let settings = Arc::new(settings);
        let parameters = Arc::new(Parameters::default());
        let session = &options.session.0;
        Self {
            cluster: ClusterLink::new(&options, Arc::clone(&settings)),
            rust: Arc::new(RustLink::new(Arc::clone(&options), Arc::clone(&parameters))),
            history: CellHistory::open(&options.home.cell_history(), session),
            names: CatalogNames::new(),
            settings,
            parameters,
            display_prefix: Uuid::new_v4().simple().to_string(),
            displays: AtomicU64::new(0),
        }
    }

    /// A display id that nothing has yet.
    pub(crate) fn new_display_id(&self) -> String {
        format!(
            "{}-{}",
            self.display_prefix,
            self.displays.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Whether Rust may start before a cell needs it.
    pub(crate) fn rust_starts_by_itself(&self) -> bool {
        self.settings.current().get("rust.start") == "auto"
    }

    /// Sets a setting here and on the cluster, or keeps it for the cluster that comes.
    pub(crate) async fn configure(&self, key: &str, value: Option<&str>) -> Result<(), Fault> {
        check(key, value)?;
        match self.cluster.attached() {
            Some(session) => self.settings.tell(&session, key, value).await?,
            None => self.settings.keep_for_later(key, value),
        }
        self.settings.change(key, value)
    }

    /// Does what `%restart` asked for.
    pub(crate) async fn restart(&self, restart: Restart) -> Result<(), Fault> {
        self.rust.forget().await;
        self.parameters.forgotten_by_rust();
        if restart == Restart::KernelAndSession {
            self.parameters.clear();
            self.clear_session().await?;
        }
        Ok(())
    }

    /// Drops the session's names and its settings. Names that depend on others go with them.
    async fn clear_session(&self) -> Result<(), Fault> {
        // Both are kept by a cluster that may not be attached yet, or not run.
        let session = self.cluster.session().await?;
        for key in self.settings.changed_keys() {
            self.configure(key, None).await?;
        }
        for entry in session.catalog().await?.entries {
            session.drop_name(&entry.name, true).await?;
        }
        self.names.refresh();
        Ok(())
    }
}
