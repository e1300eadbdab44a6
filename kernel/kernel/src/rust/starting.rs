//! What a cell shows while it waits for the Rust host: nothing at first, then one line that changes
//! until Rust is there.

use crate::bundles;
use bireme_jupyter::ExecuteContext;
use bireme_jupyter::wire::JsonMap;
use bireme_magics::MimeBundle;
use bireme_magics::display::progress::Pace;
use bireme_magics::display::units::{duration, escape_html};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// One line in a cell about something that takes long.
pub(crate) struct WaitLine<'a> {
    context: &'a ExecuteContext,
    started_at: Instant,
    pace: Pace,
    display_id: String,
    /// What it shows is waited for, not over.
    is_open: bool,
}

impl<'a> WaitLine<'a> {
    /// A line that is not shown before `after`.
    pub(crate) fn new(context: &'a ExecuteContext, after: Duration) -> Self {
        let started_at = Instant::now();
        Self {
            context,
            started_at,
            pace: Pace::new(started_at, after),
            display_id: Uuid::new_v4().simple().to_string(),
            is_open: false,
        }
    }

    /// When the line may change next.
    pub(crate) fn next(&self) -> Instant {
        self.pace.next()
    }

    /// Shows what is waited for, when it is time.
    pub(crate) fn tick(&mut self, what: &str) {
        let is_first = !self.pace.has_shown();
        if self.pace.is_due(Instant::now()) {
            let text = format!("{what} · {}", duration(self.started_at.elapsed()));
            self.show(&text, is_first);
            self.is_open = true;
        }
    }

    /// Replaces the line, if there is one, by how the wait ended. A cell has one line at most.
    pub(crate) fn end(&mut self, what: &str) {
        if std::mem::take(&mut self.is_open) {
            let text = format!("{what} in {}", duration(self.started_at.elapsed()));
            self.show(&text, false);
        }
    }

    fn show(&self, text: &str, is_first: bool) {
        let html = format!("<small style=\"opacity:0.7\">{}</small>", escape_html(text));
        let data = bundles::from_magic(&MimeBundle::new(text, html));
        let output = self.context.output();
        match is_first {
            true => output.display_data(data, JsonMap::new(), Some(&self.display_id)),
            false => output.update_display_data(data, JsonMap::new(), &self.display_id),
        }
    }
}
