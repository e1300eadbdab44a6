//! The settings of a notebook's session: what the process was started with, and on top of it what
//! `%config` and the session on the cluster say.

use bireme_client::Session;
use bireme_protocol::proto::Setting;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::{Settings, Source};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The settings in force for one notebook.
#[derive(Debug)]
pub(crate) struct SessionSettings {
    base: Settings,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Settings,
    /// Changes the cluster has not heard of, because none was attached.
    pending: BTreeMap<String, Option<String>>,
}

impl SessionSettings {
    pub(crate) fn new(base: Settings) -> Self {
        let current = base.clone();
        Self {
            base,
            state: Mutex::new(State {
                current,
                pending: BTreeMap::new(),
            }),
        }
    }

    /// A copy of the settings as they are now.
    pub(crate) fn current(&self) -> Settings {
        self.lock().current.clone()
    }

    /// Sets a value here; with `None` it is again what it was without the session.
    pub(crate) fn change(&self, key: &str, value: Option<&str>) -> Result<(), Fault> {
        let setting = bireme_settings::find(key).ok_or_else(|| {
            Fault::new(
                ErrorCode::InvalidArgument,
                format!("set {key:?}: there is no such setting"),
            )
            .with_hint("%config lists them all")
        })?;
        let mut state = self.lock();
        let (value, source) = match value {
            Some(value) => (value, Source::Session),
            None => (self.base.get(setting.key), self.base.source(setting.key)),
        };
        state
            .current
            .set(key, value, source)
            .map_err(|error| Fault::new(ErrorCode::InvalidArgument, error.to_string()))
    }

    /// Keeps a change for the cluster that will be attached.
    pub(crate) fn keep_for_later(&self, key: &str, value: Option<&str>) {
        self.lock()
            .pending
            .insert(key.to_owned(), value.map(str::to_owned));
    }

    /// Takes over what an opened session has, and tells it what was changed before.
    pub(crate) async fn meet(&self, session: &Session) -> Result<(), Fault> {
        self.adopt(&session.opened().settings);
        let pending = std::mem::take(&mut self.lock().pending);
        for (key, value) in pending {
            session.configure(&key, value.as_deref()).await?;
            self.change(&key, value.as_deref())?;
        }
        Ok(())
    }

    fn adopt(&self, settings: &[Setting]) {
        let mut state = self.lock();
        for setting in settings {
            if let Err(error) = state
                .current
                .set(&setting.key, &setting.value, Source::Session)
            {
                tracing::warn!(%error, "a setting of the session is ignored");
            }
        }
    }

    /// The keys the session has values of its own for.
    pub(crate) fn changed_keys(&self) -> Vec<&'static str> {
        let state = self.lock();
        let own = state
            .current
            .iter()
            .filter(|(_, _, source)| *source == Source::Session);
        own.map(|(setting, _, _)| setting.key).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
