//! The names completion proposes: a copy of the session's catalog, refreshed in the background so
//! that no answer ever waits for the cluster.

use crate::cluster_link::ClusterLink;
use crate::parameters::Parameters;
use bireme_magics::completion::Names;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A cluster that answers no sooner is asked again after the next cell.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(5);

/// The last known names.
#[derive(Debug)]
pub(crate) struct CatalogNames {
    names: Mutex<Arc<Names>>,
    is_stale: Notify,
}

impl CatalogNames {
    pub(crate) fn new() -> Self {
        let names = Names::new(&Default::default(), Vec::new());
        Self {
            names: Mutex::new(Arc::new(names)),
            is_stale: Notify::new(),
        }
    }

    /// The names with the parameters as they are now.
    pub(crate) fn with(&self, parameters: &Parameters) -> Names {
        let names = Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner));
        Names {
            parameters: parameters.all(),
            ..Names::clone(&names)
        }
    }

    /// Says that the names may have changed.
    pub(crate) fn refresh(&self) {
        self.is_stale.notify_one();
    }

    /// Refreshes the names whenever they may have changed, until `stop`.
    pub(crate) async fn keep_fresh(&self, link: &ClusterLink, stop: &CancellationToken) {
        while stop
            .run_until_cancelled(self.is_stale.notified())
            .await
            .is_some()
        {
            let Some(session) = link.attached() else {
                continue;
            };
            match tokio::time::timeout(REFRESH_TIMEOUT, session.catalog()).await {
                Ok(Ok(catalog)) => {
                    let names = Arc::new(Names::new(&catalog, Vec::new()));
                    *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
                }
                Ok(Err(fault)) => tracing::debug!(%fault, "completion keeps its old names"),
                Err(_) => tracing::debug!("completion keeps its old names: no answer"),
            }
        }
    }
}
