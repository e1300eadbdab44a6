//! The queries this engine is the head of: planned and waiting to be fetched, or running.

use crate::head_query::HeadQuery;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long a planned query waits for its client.
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// Queries held at once, whatever the controller admits.
const QUERIES_MAX: usize = 1024;

/// Ends a query from outside, with the reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel {
    token: CancellationToken,
    fault: Arc<OnceLock<Fault>>,
}

impl Cancel {
    /// Ends the query; the first reason stays.
    pub(crate) fn cancel(&self, fault: Fault) {
        // A later reason is a consequence of the first.
        let _ = self.fault.set(fault);
        self.token.cancel();
    }

    /// Waits for the reason.
    pub(crate) async fn cancelled(&self) -> Fault {
        self.token.cancelled().await;
        self.fault()
    }

    /// Is cancelled with the query.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// The reason, if the query has been ended.
    pub(crate) fn reason(&self) -> Option<Fault> {
        self.token.is_cancelled().then(|| self.fault())
    }

    fn fault(&self) -> Fault {
        let fault = self.fault.get().cloned();
        fault.unwrap_or_else(|| Fault::new(ErrorCode::Cancelled, "the query was cancelled"))
    }
}

/// What a query makes again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remakes {
    /// The segment of a frame; empty if it is none.
    pub(crate) segment: String,
    /// It is moved to other engines, and not lost.
    pub(crate) is_moved: bool,
}

struct Entry {
    cancel: Cancel,
    remakes: Remakes,
    planned: Option<Box<HeadQuery>>,
    since: Instant,
}

/// What the engine is the head of.
#[derive(Default)]
pub(crate) struct Queries {
    entries: Mutex<HashMap<QueryId, Entry>>,
}

/// A query under planning. It is forgotten with this, unless it is kept: its planning failed, or
/// whoever asked for it went away.
pub(crate) struct Announced<'a> {
    queries: &'a Queries,
    id: QueryId,
    cancel: Cancel,
    is_kept: bool,
}

impl Announced<'_> {
    /// What ends it from outside.
    pub(crate) fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Keeps the planned query until its client comes.
    ///
    /// # Errors
    /// It was ended meanwhile, for this reason.
    pub(crate) fn keep(mut self, query: Box<HeadQuery>) -> Result<(), Fault> {
        match self.queries.keep(self.id, query) {
            None => {
                self.is_kept = true;
                Ok(())
            }
            Some(refused) => {
                let fault = self.cancel.fault();
                refused.abandon(fault.clone());
                Err(fault)
            }
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.queries.forget(self.id);
        }
    }
}

impl Queries {
    /// Announces a query before it is planned, so that it can be cancelled meanwhile.
    ///
    /// # Errors
    /// The id is taken, or too many queries are held.
    pub(crate) fn announce(&self, id: QueryId, remakes: Remakes) -> Result<Announced<'_>, Fault> {
        let mut entries = self.entries.lock();
        if entries.len() >= QUERIES_MAX {
            return Err(Fault::new(
                ErrorCode::Unavailable,
                format!("start a query: {QUERIES_MAX} are held already"),
            ));
        }
        if entries.contains_key(&id) {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("start query {}: it was started before", id.short()),
            ));
        }
        let cancel = Cancel::default();
        let entry = Entry {
            cancel: cancel.clone(),
            remakes,
            planned: None,
            since: Instant::now(),
        };
        entries.insert(id, entry);
        Ok(Announced {
            queries: self,
            id,
            cancel,
            is_kept: false,
        })
    }

    /// Gives the query back if it was ended meanwhile: nobody would end it a second time.
    fn keep(&self, id: QueryId, query: Box<HeadQuery>) -> Option<Box<HeadQuery>> {
        match self.entries.lock().get_mut(&id) {
            Some(entry) if entry.cancel.reason().is_none() => {
                entry.planned = Some(query);
                entry.since = Instant::now();
                None
            }
            _ => Some(query),
        }
    }

    /// Hands a planned query to its client.
    ///
    /// # Errors
    /// No such query, or it was fetched before.
    pub(crate) fn fetch(&self, id: QueryId) -> Result<Box<HeadQuery>, Fault> {
        let mut entries = self.entries.lock();
        let query = entries.get_mut(&id).and_then(|entry| entry.planned.take());
        query.ok_or_else(|| {
            Fault::new(
                ErrorCode::NotFound,
                format!(
                    "fetch query {}: it has ended or was fetched before",
                    id.short()
                ),
            )
            .of_query(id.to_string())
        })
    }

    /// Ends a query if it is here.
    pub(crate) fn cancel(&self, id: QueryId, fault: &Fault) {
        let planned = {
            let mut entries = self.entries.lock();
            let Some(entry) = entries.get_mut(&id) else {
                return;
            };
            entry.cancel.cancel(fault.clone());
            entry.planned.take()
        };
        // Dropped outside the lock: its end removes the entry.
        if let Some(planned) = planned {
            planned.abandon(fault.clone());
        }
    }

    /// Forgets a query that has ended.
    pub(crate) fn forget(&self, id: QueryId) {
        self.entries.lock().remove(&id);
    }

    /// The queries held, running or waiting, with what each makes again.
    pub(crate) fn held(&self) -> HashMap<QueryId, Remakes> {
        let entries = self.entries.lock();
        let held = entries
            .iter()
            .map(|(id, entry)| (*id, entry.remakes.clone()));
        held.collect()
    }

    /// Ends planned queries nobody came for.
    pub(crate) fn expire(&self, now: Instant) {
        let expired: Vec<QueryId> = {
            let entries = self.entries.lock();
            let late = entries.iter().filter(|(_, entry)| {
                entry.planned.is_some() && now.duration_since(entry.since) > FETCH_WITHIN
            });
            late.map(|(id, _)| *id).collect()
        };
        let fault = Fault::new(
            ErrorCode::Cancelled,
            format!("nobody fetched the result within {FETCH_WITHIN:?}"),
        );
        for id in expired {
            self.cancel(id, &fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head_query;
    use crate::test_engine::TestEngine;
    use bireme_protocol::proto::{QueryState, StartRequest};

    async fn planned(test: &TestEngine, id: QueryId, cancel: &Cancel) -> Box<HeadQuery> {
        let request = StartRequest {
            query_id: id.to_string(),
            sql: "SELECT 1".to_string(),
            ..StartRequest::default()
        };
        let query = head_query::plan(&test.engine, id, request, cancel.clone()).await;
        Box::new(query.unwrap())
    }

    #[test]
    fn a_query_whose_planning_is_given_up_is_forgotten() {
        let queries = Queries::default();
        let id = QueryId::random();
        let announced = queries.announce(id, Remakes::default()).unwrap();
        assert!(queries.held().contains_key(&id));
        assert!(
            queries.announce(id, Remakes::default()).is_err(),
            "the id is taken"
        );
        drop(announced);
        assert!(queries.held().is_empty());
    }

    #[tokio::test]
    async fn a_kept_query_stays_until_it_expires() {
        let test = TestEngine::new("kept");
        let queries = test.engine.queries();
        let id = QueryId::random();
        let announced = queries.announce(id, Remakes::default()).unwrap();
        let query = planned(&test, id, announced.cancel()).await;
        announced.keep(query).unwrap();
        queries.expire(Instant::now());
        assert!(queries.held().contains_key(&id));
        queries.expire(Instant::now() + FETCH_WITHIN + Duration::from_secs(1));
        assert!(queries.held().is_empty());
        let ended = test.engine.ends().untold(&mut 0).unwrap();
        assert_eq!(ended.query_id, id.to_string());
        assert_eq!(ended.state(), QueryState::Cancelled);
    }

    #[tokio::test]
    async fn a_query_cancelled_while_it_was_planned_is_not_kept() {
        let test = TestEngine::new("not-kept");
        let queries = test.engine.queries();
        let id = QueryId::random();
        let announced = queries.announce(id, Remakes::default()).unwrap();
        let query = planned(&test, id, announced.cancel()).await;
        let fault = Fault::new(ErrorCode::Cancelled, "enough");
        queries.cancel(id, &fault);
        assert_eq!(announced.keep(query), Err(fault));
        assert!(queries.held().is_empty());
        let ended = test.engine.ends().untold(&mut 0).unwrap();
        assert_eq!(ended.state(), QueryState::Cancelled);
    }
}
