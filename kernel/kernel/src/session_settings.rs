//! The settings of a notebook's session: what the process was started with, and on top of it what
//! `%config` and the session on the cluster say.

use bireme_client::Session;
use bireme_protocol::proto::Setting;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::{Scope, Settings, Source};
use std::collections::BTreeMap;
use std::path::Path;
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
    /// Starts from what the process has; relative paths begin in `directory`.
    pub(crate) fn new(base: &Settings, directory: &Path) -> Self {
        let base = with_directory(base, directory);
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
        check(key, value)?;
        let (value, source) = match value {
            Some(value) => (value, Source::Session),
            None => (self.base.get(key), self.base.source(key)),
        };
        let mut state = self.lock();
        state
            .current
            .set(key, value, source)
            .map_err(|error| refused(error.to_string()))
    }

    /// Keeps a change for the cluster that will be attached.
    pub(crate) fn keep_for_later(&self, key: &str, value: Option<&str>) {
        self.lock()
            .pending
            .insert(key.to_owned(), value.map(str::to_owned));
    }

    /// Tells a session of a change. One that is taken back leaves what this process was given.
    pub(crate) async fn tell(
        &self,
        session: &Session,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Fault> {
        let given = is_given(self.base.source(key)).then(|| self.base.get(key));
        session.configure(key, value.or(given)).await?;
        Ok(())
    }

    /// Takes over what an opened session has, and tells it what this process was given and what was
    /// changed before.
    pub(crate) async fn meet(&self, session: &Session) -> Result<(), Fault> {
        let known = &session.opened().settings;
        self.adopt(known);
        tell_given(session, &self.current()).await?;
        while let Some((key, value)) = self.first_pending() {
            let told = self.tell(session, &key, value.as_deref()).await;
            // A refusal stands; whatever else failed is tried again with the next attempt.
            if told
                .as_ref()
                .err()
                .is_none_or(|fault| fault.code == ErrorCode::InvalidArgument)
            {
                self.forget_pending(&key, value.as_deref());
            }
            told?;
            self.change(&key, value.as_deref())?;
        }
        Ok(())
    }

    fn first_pending(&self) -> Option<(String, Option<String>)> {
        let state = self.lock();
        let (key, value) = state.pending.first_key_value()?;
        Some((key.clone(), value.clone()))
    }

    /// Forgets a change that was told, unless it was changed again meanwhile.
    fn forget_pending(&self, key: &str, told: Option<&str>) {
        let mut state = self.lock();
        if state.pending.get(key).map(Option::as_deref) == Some(told) {
            state.pending.remove(key);
        }
    }

    fn adopt(&self, settings: &[Setting]) {
        let mut state = self.lock();
        for setting in settings {
            // What this process was given is told to the session instead.
            if is_given(state.current.source(&setting.key)) {
                continue;
            }
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

/// Whether a session may set this: the key, and the value if one is given.
pub(crate) fn check(key: &str, value: Option<&str>) -> Result<(), Fault> {
    let setting = bireme_settings::find(key);
    if setting.is_some_and(|setting| setting.scope == Scope::Cluster) {
        let message = format!("set {key}: it is the same for all sessions of a cluster");
        return Err(refused(message).with_hint(
            "set it in config.toml of BIREME_HOME or in the environment, then `bireme cluster restart`",
        ));
    }
    let value = value.or(setting.map(|setting| setting.default));
    Settings::default()
        .set(key, value.unwrap_or_default(), Source::Session)
        .map_err(|error| refused(error.to_string()))
}

/// Settings of a process whose relative paths begin in a directory.
pub(crate) fn with_directory(settings: &Settings, directory: &Path) -> Settings {
    let mut settings = settings.clone();
    let text = directory.to_string_lossy();
    if let Err(error) = settings.set("session.directory", &text, Source::Flag) {
        tracing::warn!(%error, "relative paths begin where the engines run");
    }
    settings
}

/// Tells a session what this process was given by its environment or by flags: the cluster may have
/// been started with something else.
pub(crate) async fn tell_given(session: &Session, settings: &Settings) -> Result<(), Fault> {
    let known = &session.opened().settings;
    for (setting, value, source) in settings.iter() {
        let is_known = known
            .iter()
            .any(|one| one.key == setting.key && one.value == value);
        if setting.scope == Scope::Session && is_given(source) && !is_known {
            session.configure(setting.key, Some(value)).await?;
        }
    }
    Ok(())
}

/// Whether a value was given to this process alone; the file is the cluster's as well.
fn is_given(source: Source) -> bool {
    matches!(source, Source::Environment | Source::Flag)
}

fn refused(message: String) -> Fault {
    Fault::new(ErrorCode::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SessionSettings {
        let mut base = Settings::default();
        base.set("query.timeout", "30s", Source::Environment)
            .unwrap();
        SessionSettings::new(&base, Path::new("/home/analyst"))
    }

    fn stored(key: &str, value: &str) -> Setting {
        Setting {
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn what_a_session_cannot_set_is_refused_at_once() {
        for (key, value, expected) in [
            ("query.timeuot", "1s", "there is no such setting"),
            ("query.timeout", "soon", "is not duration"),
            ("query.max_concurrent", "2", "the same for all sessions"),
        ] {
            let fault = check(key, Some(value)).unwrap_err();
            assert_eq!(fault.code, ErrorCode::InvalidArgument);
            assert!(fault.message.contains(expected), "{fault}");
        }
        assert_eq!(check("query.timeout", None), Ok(()));
    }

    #[test]
    fn a_change_waits_until_it_was_told() {
        let settings = settings();
        settings.keep_for_later("query.partitions", Some("8"));
        let waiting = Some(("query.partitions".to_owned(), Some("8".to_owned())));
        assert_eq!(settings.first_pending(), waiting);
        // Set again while the first value was told.
        settings.forget_pending("query.partitions", Some("4"));
        assert_eq!(settings.first_pending(), waiting);
        settings.forget_pending("query.partitions", Some("8"));
        assert_eq!(settings.first_pending(), None);
    }

    #[test]
    fn what_the_process_was_given_stands_over_what_the_session_had() {
        let settings = settings();
        settings.adopt(&[
            stored("query.timeout", "5s"),
            stored("session.directory", "/elsewhere"),
            stored("query.partitions", "8"),
        ]);
        let current = settings.current();
        assert_eq!(current.get("query.timeout"), "30s");
        assert_eq!(current.get("session.directory"), "/home/analyst");
        assert_eq!(current.get("query.partitions"), "8");
        assert_eq!(settings.changed_keys(), ["query.partitions"]);
        settings.change("session.directory", Some("/data")).unwrap();
        settings.change("session.directory", None).unwrap();
        let current = settings.current();
        assert_eq!(current.get("session.directory"), "/home/analyst");
    }
}
