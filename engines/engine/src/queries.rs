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
        let fault = self.fault.get().cloned();
        fault.unwrap_or_else(|| Fault::new(ErrorCode::Cancelled, "the query was cancelled"))
    }
}

struct Entry {
    cancel: Cancel,
    planned: Option<Box<HeadQuery>>,
    since: Instant,
}

/// What the engine is the head of.
#[derive(Default)]
pub(crate) struct Queries {
    entries: Mutex<HashMap<QueryId, Entry>>,
}

impl Queries {
    /// Announces a query before it is planned, so that it can be cancelled meanwhile.
    ///
    /// # Errors
    /// The id is taken, or too many queries are held.
    pub(crate) fn announce(&self, id: QueryId) -> Result<Cancel, Fault> {
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
            planned: None,
            since: Instant::now(),
        };
        entries.insert(id, entry);
        Ok(cancel)
    }

    /// Keeps a planned query until its client comes. Gives it back if it was ended meanwhile.
    pub(crate) fn keep(&self, id: QueryId, query: Box<HeadQuery>) -> Option<Box<HeadQuery>> {
        match self.entries.lock().get_mut(&id) {
            Some(entry) => {
                entry.planned = Some(query);
                entry.since = Instant::now();
                None
            }
            None => Some(query),
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

    /// The queries held, running or waiting.
    pub(crate) fn ids(&self) -> Vec<QueryId> {
        self.entries.lock().keys().copied().collect()
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
