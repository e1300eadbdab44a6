//! Who runs next. At most so many queries run; the sessions take turns, and within a session the
//! first to come is the first to go. Queries that read no table bypass the queue.

use bireme_protocol::{ErrorCode, Fault, QueryId};
use std::collections::VecDeque;

/// Queries that bypass the queue at once; more of them wait like all others.
const TRIVIAL_MAX: usize = 32;

/// How a query runs beside others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// It takes one of the places.
    Place,
    /// It reads no table.
    Trivial,
}

/// One session's queries in the order they came.
#[derive(Debug)]
struct Line {
    session: String,
    queries: VecDeque<QueryId>,
}

/// The queue and the places.
#[derive(Debug)]
pub(crate) struct Admission {
    places: usize,
    queue_max: usize,
    running: usize,
    trivial: usize,
    /// The line at the front has its turn next.
    lines: VecDeque<Line>,
    /// Queries of either share that wait for any engine at all, though not for a place.
    trivial_queue: VecDeque<QueryId>,
    /// Queries that wait for something else than their turn, with their sessions, in the order they
    /// began to.
    parked: Vec<(String, QueryId)>,
}

impl Admission {
    pub(crate) fn new(places: usize, queue_max: usize) -> Self {
        Self {
            places,
            queue_max,
            running: 0,
            trivial: 0,
            lines: VecDeque::new(),
            trivial_queue: VecDeque::new(),
            parked: Vec::new(),
        }
    }

    pub(crate) fn queued(&self) -> usize {
        let waiting = self.lines.iter().map(|line| line.queries.len());
        self.trivial_queue.len() + self.parked.len() + waiting.sum::<usize>()
    }

    /// Puts a query in the queue. Returns how it will run.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn push(
        &mut self,
        session: &str,
        query: QueryId,
        is_trivial: bool,
    ) -> Result<Share, Fault> {
        let queued = self.queued();
        if queued >= self.queue_max {
            return Err(Fault::new(
                ErrorCode::Unavailable,
                format!(
                    "submit a query: {} run and {queued} wait, the queue holds {}",
                    self.running, self.queue_max
                ),
            )
            .with_hint("wait, or cancel some: `%jobs` lists them, `%cancel ID` ends one"));
        }
        if is_trivial && self.trivial + self.trivial_queue.len() < TRIVIAL_MAX {
            self.trivial_queue.push_back(query);
            return Ok(Share::Trivial);
        }
        self.line_up(session, query);
        Ok(Share::Place)
    }

    fn line_up(&mut self, session: &str, query: QueryId) {
        match self.lines.iter_mut().find(|line| line.session == session) {
            Some(line) => line.queries.push_back(query),
            None => self.lines.push_back(Line {
                session: session.to_string(),
                queries: VecDeque::from([query]),
            }),
        }
    }

    /// A query that had left the queue, and gave its place back, waits again, though not for its turn.
    pub(crate) fn park(&mut self, session: &str, query: QueryId) {
        self.parked.push((session.to_string(), query));
    }

    /// Lines up those that have waited for it, for a place.
    pub(crate) fn unpark(&mut self, is_ready: impl Fn(QueryId) -> bool) {
        let ready = |(_, query): &mut (String, QueryId)| is_ready(*query);
        let ready: Vec<(String, QueryId)> = self.parked.extract_if(.., ready).collect();
        for (session, query) in ready {
            self.line_up(&session, query);
        }
    }

    /// Takes the query whose turn it is, if one may run now. Without all engines only those that
    /// read no table may.
    pub(crate) fn pop(&mut self, are_all_up: bool) -> Option<QueryId> {
        if let Some(query) = self.trivial_queue.pop_front() {
            self.trivial += 1;
            return Some(query);
        }
        if !are_all_up || self.running >= self.places {
            return None;
        }
        let mut line = self.lines.pop_front()?;
        let query = line.queries.pop_front()?;
        if !line.queries.is_empty() {
            self.lines.push_back(line);
        }
        self.running += 1;
        Some(query)
    }

    /// A query that ran when it was not admitted by us: it takes its place all the same.
    pub(crate) fn adopt(&mut self) {
        self.running += 1;
    }

    /// Gives back what a query that ran took.
    pub(crate) fn release(&mut self, share: Share) {
        match share {
            Share::Place => self.running = self.running.saturating_sub(1),
            Share::Trivial => self.trivial = self.trivial.saturating_sub(1),
        }
    }

    /// Takes a query out of the queue.
    pub(crate) fn remove(&mut self, query: QueryId) {
        self.trivial_queue.retain(|queued| *queued != query);
        self.parked.retain(|(_, parked)| *parked != query);
        for line in &mut self.lines {
            line.queries.retain(|queued| *queued != query);
        }
        self.lines.retain(|line| !line.queries.is_empty());
    }

    /// All that wait, in the order they will run if nothing else comes.
    pub(crate) fn order(&self) -> Vec<QueryId> {
        let mut order: Vec<QueryId> = self.trivial_queue.iter().copied().collect();
        let longest = self.lines.iter().map(|line| line.queries.len()).max();
        for turn in 0..longest.unwrap_or(0) {
            let of_turn = self.lines.iter().filter_map(|line| line.queries.get(turn));
            order.extend(of_turn.copied());
        }
        order.extend(self.parked.iter().map(|(_, query)| *query));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>() -> [QueryId; N] {
        std::array::from_fn(|_| QueryId::random())
    }

    #[test]
    fn sessions_take_turns() {
        let mut admission = Admission::new(1, 100);
        let [a1, a2, a3, b1, b2] = ids();
        for (session, query) in [("a", a1), ("a", a2), ("a", a3), ("b", b1), ("b", b2)] {
            admission.push(session, query, false).unwrap();
        }
        assert_eq!(admission.order(), [a1, b1, a2, b2, a3]);
        let mut ran = Vec::new();
        while let Some(query) = admission.pop(true) {
            ran.push(query);
            assert_eq!(admission.pop(true), None, "one place");
            admission.release(Share::Place);
        }
        assert_eq!(ran, [a1, b1, a2, b2, a3]);
    }

    #[test]
    fn trivial_queries_need_no_place() {
        let mut admission = Admission::new(1, 100);
        let [big, small] = ids();
        assert_eq!(admission.push("a", big, false).unwrap(), Share::Place);
        assert_eq!(admission.pop(true), Some(big));
        assert_eq!(admission.push("a", small, true).unwrap(), Share::Trivial);
        assert_eq!(admission.pop(true), Some(small));
    }

    #[test]
    fn without_all_engines_only_trivial_queries_run() {
        let mut admission = Admission::new(1, 100);
        let [big, small] = ids();
        admission.push("a", big, false).unwrap();
        admission.push("a", small, true).unwrap();
        assert_eq!(admission.pop(false), Some(small));
        assert_eq!(admission.pop(false), None);
        assert_eq!(admission.order(), [big], "it keeps its turn");
        assert_eq!(admission.pop(true), Some(big));
    }

    #[test]
    fn who_waits_for_something_else_lines_up_once_it_is_there() {
        let mut admission = Admission::new(1, 3);
        let [one, two, three, four] = ids();
        for query in [one, two] {
            admission.push("a", query, false).unwrap();
        }
        assert_eq!(admission.pop(true), Some(one));
        admission.release(Share::Place);
        admission.park("a", one);
        assert_eq!((admission.queued(), admission.order()), (2, vec![two, one]));
        admission.push("b", three, false).unwrap();
        assert!(admission.push("b", four, false).is_err(), "it counts");
        admission.unpark(|_| false);
        assert_eq!(admission.order(), [two, three, one]);
        admission.unpark(|query| query == one);
        assert_eq!(
            admission.order(),
            [two, three, one],
            "after those that came before"
        );
        admission.park("a", four);
        admission.remove(four);
        assert_eq!(admission.queued(), 3);
    }

    #[test]
    fn a_full_queue_says_so_with_numbers() {
        let mut admission = Admission::new(1, 2);
        let [one, two, three] = ids();
        admission.push("a", one, false).unwrap();
        admission.push("a", two, false).unwrap();
        let fault = admission.push("a", three, false).unwrap_err();
        assert!(fault.message.contains("2 wait"), "{fault}");
        admission.remove(one);
        admission.push("a", three, false).unwrap();
        assert_eq!(admission.order(), [two, three]);
    }
}
