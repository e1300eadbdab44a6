//! Sessions are opened; their names and settings change. A change is answered once it is in the
//! database.

use super::cluster::too_many;
use crate::action::{Action, Answer};
use crate::clock::Moment;
use crate::message::{Definition, Reply, answer};
use crate::state::State;
use crate::state::waiting::{WAITING_MAX, WaitingDefinition};
use crate::store::Write;
use bireme_protocol::process::now_ms;
use bireme_protocol::proto::{
    CatalogEntry, ConfigureRequest, DefineReply, DropReply, DropRequest, OpenSessionRequest,
    SessionInfo,
};
use bireme_protocol::{ErrorCode, Fault, build_id};
use bireme_settings::{Scope, Settings, Source};
use std::time::Duration;

/// How long a definition waits for an engine.
const ENGINE_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a session's name.
const NAME_BYTES_MAX: usize = 512;

impl State {
    pub(super) fn open_session(
        &mut self,
        request: OpenSessionRequest,
        reply: Reply<SessionInfo>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.touched = now;
        match self.opened(request, now, actions) {
            Ok((write, info)) => {
                let answer = Answer::Session(reply, info);
                actions.push(Action::SaveThenAnswer(write, answer));
            }
            Err(fault) => answer(reply, Err(fault)),
        }
    }

    fn opened(
        &mut self,
        request: OpenSessionRequest,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(Write, SessionInfo), Fault> {
        if !request.build_id.is_empty() {
            build_id::check(&request.client, &request.build_id)?;
        }
        let name = request.session;
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!(
                    "open a session: its name has {} bytes, 1 to {NAME_BYTES_MAX} are accepted",
                    name.len()
                ),
            ));
        }
        let touched_at_ms = now_ms();
        let is_new = !self.sessions.contains(&name);
        if is_new {
            let queries = &self.queries;
            let is_busy = |session: &str| {
                let mut live = queries.live.values();
                live.any(|query| query.request.session == session)
            };
            if let Some(forgotten) = self.sessions.add(&name, touched_at_ms, is_busy)? {
                actions.push(Action::Save(Write::ForgetSession { name: forgotten }));
            }
        }
        let session = self.sessions.get_mut(&name)?;
        session.client = request.client;
        session.touched_at_ms = touched_at_ms;
        session.opened_at_ms = touched_at_ms;
        let info = session.info(is_new);
        let client = session.client.clone();
        self.note_use(&name, now);
        let write = Write::Session {
            name,
            client,
            touched_at_ms,
        };
        Ok((write, info))
    }

    pub(super) fn define(
        &mut self,
        definition: Definition,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.touched = now;
        if let Err(fault) = self.sessions.get(&definition.request.session) {
            return answer(definition.reply, Err(fault));
        }
        self.note_use(&definition.request.session, now);
        if self.engines.member_count() > 0 {
            return self.describe(definition, actions);
        }
        if self.waiting.definitions.len() >= WAITING_MAX {
            return answer(definition.reply, Err(too_many("plan a definition")));
        }
        self.waiting.definitions.push(WaitingDefinition {
            definition,
            until: now.after(ENGINE_WAIT),
        });
    }

    /// Hands on the definitions that waited for an engine.
    pub(super) fn start_definitions(&mut self, actions: &mut Vec<Action>) {
        if self.engines.member_count() == 0 {
            return;
        }
        for waiting in std::mem::take(&mut self.waiting.definitions) {
            self.describe(waiting.definition, actions);
        }
    }

    pub(super) fn expire_definitions(&mut self, now: Moment) {
        let late = |waiting: &mut WaitingDefinition| waiting.until <= now;
        let late: Vec<_> = self.waiting.definitions.extract_if(.., late).collect();
        for waiting in late {
            let fault = self.missing_engines(1);
            answer(waiting.definition.reply, Err(fault));
        }
    }

    fn describe(&self, definition: Definition, actions: &mut Vec<Action>) {
        let head = self.engines.choose_head(|rank| self.queries.heading(rank));
        let name = &definition.request.session;
        let session = self.sessions.get(name);
        let session = session.and_then(|session| {
            let mut catalog = self.catalog_of(name)?;
            // Planning a name reads no rows, so those of a frame may still be under way.
            let frames = catalog
                .entries
                .iter_mut()
                .filter_map(|entry| entry.frame.as_mut());
            frames
                .filter(|frame| frame.pending)
                .for_each(|frame| frame.lost.clear());
            Ok((session, catalog))
        });
        match (head, session) {
            (Some(head), Ok((session, catalog))) => actions.push(Action::Describe {
                engine: head.client,
                catalog,
                settings: session.settings(),
                definition,
            }),
            (_, Err(fault)) => answer(definition.reply, Err(fault)),
            (None, _) => answer(definition.reply, Err(self.missing_engines(1))),
        }
    }

    /// An engine has planned a definition, or found what is wrong with it.
    pub(super) fn described(
        &mut self,
        definition: Definition,
        entry: Result<CatalogEntry, Fault>,
        actions: &mut Vec<Action>,
    ) {
        let reply = definition.reply;
        let session = self.sessions.get_mut(&definition.request.session);
        let defined = entry.and_then(|mut entry| {
            let session = session?;
            if entry.sql.is_empty() {
                entry.sql = definition.request.sql;
            }
            entry.defined_at_ms = now_ms();
            let known = session
                .entries
                .iter()
                .find(|known| known.name == entry.name);
            let before = known.cloned();
            session.define(entry.clone())?;
            Ok((session.name.clone(), session.catalog_version, entry, before))
        });
        match defined {
            Ok((session, version, entry, before)) => {
                if let Some(before) = &before {
                    self.release_frame(before);
                }
                let value = DefineReply {
                    entry: Some(entry.clone()),
                    replaced: before.is_some(),
                    catalog_version: version,
                };
                let write = Write::Name {
                    session,
                    version,
                    entry,
                };
                actions.push(Action::SaveThenAnswer(write, Answer::Define(reply, value)));
            }
            Err(fault) => answer(reply, Err(fault)),
        }
    }

    pub(super) fn drop_name(
        &mut self,
        request: &DropRequest,
        reply: Reply<DropReply>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.touched = now;
        let session = match self.sessions.get_mut(&request.session) {
            Ok(session) => session,
            Err(fault) => return answer(reply, Err(fault)),
        };
        match session.resolve(&request.name) {
            Some(name) => {
                let dropped = session.entries.iter().find(|entry| entry.name == name);
                let dropped = dropped.cloned();
                session.drop_name(&name);
                let write = Write::DropName {
                    session: session.name.clone(),
                    version: session.catalog_version,
                    name,
                };
                if let Some(dropped) = dropped {
                    self.release_frame(&dropped);
                }
                let value = DropReply { dropped: true };
                actions.push(Action::SaveThenAnswer(write, Answer::Drop(reply, value)));
            }
            None if request.if_exists => answer(reply, Ok(DropReply { dropped: false })),
            None => {
                let known: Vec<&str> = session.entries.iter().map(|e| e.name.as_str()).collect();
                answer(reply, Err(no_such_name(request, &known)));
            }
        }
    }

    pub(super) fn configure(
        &mut self,
        request: ConfigureRequest,
        reply: Reply<SessionInfo>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.touched = now;
        let session = match self.sessions.get_mut(&request.session) {
            Ok(session) => session,
            Err(fault) => return answer(reply, Err(fault)),
        };
        let value = (!request.reset).then_some(request.value);
        if let Err(fault) = check_setting(&request.key, value.as_deref()) {
            return answer(reply, Err(fault));
        }
        match &value {
            Some(value) => session.settings.insert(request.key.clone(), value.clone()),
            None => session.settings.remove(&request.key),
        };
        let write = Write::Setting {
            session: session.name.clone(),
            key: request.key,
            value,
        };
        let info = session.info(false);
        actions.push(Action::SaveThenAnswer(write, Answer::Session(reply, info)));
    }
}

fn no_such_name(request: &DropRequest, known: &[&str]) -> Fault {
    const NAMES_SHOWN: usize = 10;
    let hint = match known {
        [] => "the session has no views or tables".to_string(),
        known => {
            let shown: Vec<&str> = known.iter().take(NAMES_SHOWN).copied().collect();
            format!("the session has {}", shown.join(", "))
        }
    };
    Fault::new(
        ErrorCode::NotFound,
        format!(
            "drop {:?}: session {:?} has no view or table of this name",
            request.name, request.session
        ),
    )
    .with_hint(hint)
}

/// Accepts what may differ per session.
fn check_setting(key: &str, value: Option<&str>) -> Result<(), Fault> {
    let wrong = |message: String| Fault::new(ErrorCode::InvalidArgument, message);
    if let Some(setting) = bireme_settings::find(key)
        && setting.scope == Scope::Cluster
    {
        return Err(wrong(format!(
            "set {key}: it is the same for all sessions of a cluster"
        ))
        .with_hint("set it in config.toml or the environment, then `bireme cluster restart`"));
    }
    // The default value of an unknown key is refused like any other.
    let value = value.or_else(|| bireme_settings::find(key).map(|setting| setting.default));
    Settings::default()
        .set(key, value.unwrap_or_default(), Source::Session)
        .map_err(|error| wrong(error.to_string()))
}
