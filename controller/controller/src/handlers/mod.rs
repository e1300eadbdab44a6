//! What happens when something happened: one method per message, in a file per subject. A handler
//! changes the state, answers who can be answered, and leaves the rest to actions. It never waits.

mod adoption;
mod attendance;
mod cluster;
mod engine_loss;
mod engines;
mod finish;
mod frames;
mod queries;
mod rebuild;
mod resize;
mod sessions;
mod tick;

use crate::action::Action;
use crate::clock::Moment;
use crate::message::{Message, answer};
use crate::state::State;

impl State {
    /// Handles one message. Returns what is to be done, in order.
    pub(crate) fn handle(&mut self, message: Message, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.dispatch(message, now, &mut actions);
        self.settle(now, &mut actions);
        actions
    }

    fn dispatch(&mut self, message: Message, now: Moment, actions: &mut Vec<Action>) {
        match message {
            Message::Attach {
                register,
                commands,
                reply,
            } => {
                let attached = self.attach(register, commands, now, actions);
                answer(reply, attached);
            }
            Message::Heartbeat(engine, heartbeat) => {
                self.heartbeat(engine, heartbeat, now, actions);
            }
            Message::QueryEnded(engine, ended) => self.query_ended(engine, ended, now, actions),
            Message::Detached(engine) => self.detached(engine, now, actions),
            Message::ExitReported(report) => self.exit_reported(report, now, actions),
            Message::Status(reply) => answer(reply, Ok(self.status())),
            Message::WaitEngines {
                engines,
                limit,
                reply,
            } => self.wait_engines(engines, limit, reply, now),
            Message::Resize {
                engines,
                limit,
                reply,
            } => self.resize(engines, limit, reply, now, actions),
            Message::Engines(reply) => answer(reply, Ok(self.engines.clients())),
            Message::OpenSession(request, reply) => {
                self.open_session(request, reply, now, actions);
            }
            Message::GetCatalog(session, reply) => {
                self.touched = now;
                answer(reply, self.catalog_of(&session));
            }
            Message::Attend(session, reply) => answer(reply, self.attend(&session, now)),
            Message::Define(definition) => self.define(definition, now, actions),
            Message::Described(definition, entry) => self.described(definition, entry, actions),
            Message::Drop(request, reply) => self.drop_name(&request, reply, now, actions),
            Message::Publish(request, reply) => self.publish(&request, reply, now, actions),
            Message::Configure(request, reply) => self.configure(request, reply, now, actions),
            Message::Submit(id, request, reply) => self.submit(id, request, reply, now, actions),
            Message::Abandoned(id) => self.abandoned(id, now, actions),
            Message::Started(id, started) => self.started(id, started, now, actions),
            Message::Follow(query, reply) => answer(reply, self.follow(&query)),
            Message::Unfollowed(id) => self.unfollowed(id, now),
            Message::Cancel(request, reply) => {
                let cancelled = self.cancel(&request, now, actions);
                answer(reply, cancelled);
            }
            Message::Jobs(reply) => answer(reply, Ok(self.jobs(now))),
        }
    }

    /// Does what any change may have made possible.
    fn settle(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.note_members(now);
        self.start_definitions(actions);
        self.start_rebuilds(now, actions);
        self.queue_waiting();
        self.start_queries(now, actions);
        self.publish_places(now, actions);
        self.tell_dropped();
        self.answer_waiting();
        self.answer_resizes(now, actions);
    }
}
