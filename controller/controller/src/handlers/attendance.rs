//! Whose frames are kept: those of sessions that somebody works with. A client says from time to
//! time that it is there; the frames of a session that nobody has attended for long go.

use crate::action::Action;
use crate::clock::Moment;
use crate::state::State;
use crate::state::sessions::Session;
use crate::store::Write;
use bireme_protocol::Fault;
use bireme_protocol::proto::CatalogEntry;

impl State {
    /// A session's client is there.
    pub(super) fn attend(&mut self, session: &str, now: Moment) -> Result<(), Fault> {
        self.sessions.get_mut(session)?.attended = Some(now);
        Ok(())
    }

    /// A session asks for something: what it lost before this controller began is made again.
    pub(super) fn note_use(&mut self, session: &str, now: Moment) {
        let Ok(session) = self.sessions.get_mut(session) else {
            return;
        };
        session.attended = Some(now);
        if !std::mem::replace(&mut session.is_in_use, true) {
            self.segments.change();
        }
    }

    /// When the frames of some session are to go, unless somebody comes.
    pub(super) fn attendance_deadline(&self) -> Option<Moment> {
        let sessions = self.sessions.iter();
        sessions
            .filter_map(|session| self.kept_until(session))
            .min()
    }

    /// Lets the frames go of sessions that nobody has attended for long.
    pub(super) fn forget_unattended(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_over =
            |session: &&Session| self.kept_until(session).is_some_and(|until| until <= now);
        let sessions = self.sessions.iter().filter(is_over);
        let names: Vec<String> = sessions.map(|session| session.name.clone()).collect();
        for name in names {
            self.forget_frames(&name, actions);
        }
    }

    fn forget_frames(&mut self, name: &str, actions: &mut Vec<Action>) {
        let Ok(session) = self.sessions.get_mut(name) else {
            return;
        };
        let gone = session.entries.iter().filter(|entry| is_own(entry));
        let gone: Vec<CatalogEntry> = gone.cloned().collect();
        for entry in gone {
            tracing::info!(session = name, frame = %entry.name, "nobody was there for long: a frame goes");
            let Ok(session) = self.sessions.get_mut(name) else {
                return;
            };
            session.drop_name(&entry.name);
            actions.push(Action::Save(Write::DropName {
                session: session.name.clone(),
                version: session.catalog_version,
                name: entry.name.clone(),
            }));
            self.release_frame(&entry);
        }
    }

    /// None: for ever. What a session has published is others' too, and goes when it is dropped.
    fn kept_until(&self, session: &Session) -> Option<Moment> {
        let is_kept = self.keep_frames.is_zero() || !session.entries.iter().any(is_own);
        let attended = session.attended.unwrap_or(self.began);
        (!is_kept).then(|| attended.after(self.keep_frames))
    }
}

/// Whether it is a frame that nobody else reads.
fn is_own(entry: &CatalogEntry) -> bool {
    let frame = entry.frame.as_ref();
    frame.is_some_and(|frame| !frame.published)
}
