//! Which variables there are in the memory of the cell host, as opposed to evcxr's record of them.
//! The two part when an older snapshot goes on in the place of a process that died.

use bireme_px::relay::Relay;
use std::collections::{BTreeMap, BTreeSet};

/// The variables after each run that a snapshot may bring back.
#[derive(Default)]
pub(crate) struct VariableRecord {
    after: BTreeMap<u64, BTreeSet<String>>,
    /// Lost variables the user knows of.
    told: BTreeSet<String>,
}

impl VariableRecord {
    /// Notes what evcxr has recorded for the memory there is now, before a cell runs in it. What is
    /// known of this memory already stays: it may lack what evcxr still records.
    pub(crate) fn note(&mut self, relay: &Relay, recorded: &[String]) {
        let recorded: BTreeSet<String> = recorded.iter().cloned().collect();
        self.told.retain(|name| recorded.contains(name));
        self.after.entry(relay.generation()).or_insert(recorded);
    }

    /// Forgets everything: the cell host is another one.
    pub(crate) fn clear(&mut self) {
        *self = VariableRecord::default();
    }

    /// The recorded variables that are not in memory, and that the user has not been told of. evcxr
    /// forgets all that are not there before the next cell, and those that are outdated.
    pub(crate) fn lost(
        &mut self,
        relay: &Relay,
        recorded: &[String],
        outdated: &[String],
    ) -> Vec<String> {
        let now = relay.generation();
        let kept = relay.snapshot()..=now;
        self.after.retain(|generation, _| kept.contains(generation));
        let there = self.after.get(&now);
        let is_gone = |name: &&String| there.is_some_and(|there| !there.contains(*name));
        let gone: Vec<String> = recorded.iter().filter(is_gone).cloned().collect();
        relay.forget([gone.as_slice(), outdated].concat());
        gone.into_iter()
            .filter(|name| self.told.insert(name.clone()))
            .collect()
    }

    /// The recorded variables that would be gone if the cell's process died now.
    pub(crate) fn at_risk(&self, relay: &Relay, recorded: &[String]) -> Vec<String> {
        match self.after.get(&relay.snapshot()) {
            Some(saved) => {
                let unsaved = recorded.iter().filter(|name| !saved.contains(*name));
                unsaved.cloned().collect()
            }
            None => recorded.to_vec(),
        }
    }
}
