//! A distributed plan as a tree: in text, and in HTML as nested parts that open and close.
//!
//! After a run every node has its rows, time and bytes; a bar shows its share of the time and the
//! hottest node is marked. A stage that runs on other engines than its parent says where.

use std::fmt::Write;

use bireme_protocol::{PlanNode, PlanTree};

use super::units::{
    clip, counted, escape_html, format_bytes, microseconds, milliseconds, one_line, rough_count,
};
use crate::mime_bundle::MimeBundle;

/// Widest details in text.
const DETAILS_WIDTH: usize = 100;
/// Widest details in HTML.
const HTML_DETAILS_WIDTH: usize = 400;
/// Deepest level of HTML that opens by itself.
const OPEN_DEPTH: usize = 40;

/// Draws a plan.
pub fn render(plan: &PlanTree) -> MimeBundle {
    let busy = Busy::of(&plan.root);
    let headline = headline(plan);
    let mut lines = vec![headline.clone()];
    plain_node(&mut lines, &plan.root, None, &Branch::root(), &busy);
    let mut html = format!(
        "<small style=\"opacity:0.7\">{}</small>",
        escape_html(&headline)
    );
    html_node(&mut html, &plan.root, None, 0, &busy);
    MimeBundle::new(lines.join("\n"), html)
}

fn headline(plan: &PlanTree) -> String {
    let stages = 1 + highest_stage(&plan.root);
    let engines = counted(u64::from(plan.engines), "engine");
    let stages = counted(u64::from(stages), "stage");
    match plan.analyzed {
        true => format!(
            "plan: {stages} · {engines} · {}",
            milliseconds(plan.elapsed_ms)
        ),
        false => format!("plan: {stages} · {engines}"),
    }
}

fn highest_stage(node: &PlanNode) -> u32 {
    node.children
        .iter()
        .map(highest_stage)
        .max()
        .unwrap_or(0)
        .max(node.stage)
}

/// Busy time over the tree, to tell what is hot.
struct Busy {
    total: u64,
    most: u64,
}

impl Busy {
    fn of(root: &PlanNode) -> Self {
        let mut busy = Self { total: 0, most: 0 };
        busy.add(root);
        busy
    }

    fn add(&mut self, node: &PlanNode) {
        let own = node.busy_us.unwrap_or(0);
        self.total += own;
        self.most = self.most.max(own);
        node.children.iter().for_each(|child| self.add(child));
    }

    fn percent(&self, node: &PlanNode) -> Option<u64> {
        let own = node.busy_us.filter(|_| self.total > 0)?;
        Some(own * 100 / self.total)
    }

    fn is_hottest(&self, node: &PlanNode) -> bool {
        self.most > 0 && node.busy_us == Some(self.most)
    }
}

/// What stands left of a node in text.
struct Branch {
    own: String,
    below: String,
}

impl Branch {
    fn root() -> Self {
        Self {
            own: String::new(),
            below: String::new(),
        }
    }

    fn child(&self, is_last: bool) -> Self {
        let (own, below) = if is_last {
            ("└─ ", "   ")
        } else {
            ("├─ ", "│  ")
        };
        Self {
            own: format!("{}{own}", self.below),
            below: format!("{}{below}", self.below),
        }
    }
}

fn plain_node(
    lines: &mut Vec<String>,
    node: &PlanNode,
    parent: Option<&PlanNode>,
    branch: &Branch,
    busy: &Busy,
) {
    let mut line = format!("{}{}", branch.own, node.name);
    let details = clip(&one_line(&node.details), DETAILS_WIDTH);
    if !details.is_empty() {
        line.push_str(&format!(": {details}"));
    }
    let place = place(node, parent).map(|place| format!("[{place}]"));
    let hot = busy.is_hottest(node).then(|| "◀ hottest".to_string());
    for part in [place, measured(node, busy), hot].into_iter().flatten() {
        line.push_str(&format!("  {part}"));
    }
    lines.push(line);
    for (index, child) in node.children.iter().enumerate() {
        let branch = branch.child(index + 1 == node.children.len());
        plain_node(lines, child, Some(node), &branch, busy);
    }
}

/// Where a node runs, when that is not where its parent does.
fn place(node: &PlanNode, parent: Option<&PlanNode>) -> Option<String> {
    let is_same = parent.is_some_and(|parent| {
        parent.stage == node.stage && parent.engines == node.engines && parent.device == node.device
    });
    if is_same {
        return None;
    }
    let mut parts = vec![format!("stage {}", node.stage)];
    if !node.engines.is_empty() {
        let noun = if node.engines.len() == 1 {
            "engine"
        } else {
            "engines"
        };
        parts.push(format!("{noun} {}", ranks(&node.engines)));
    }
    if !node.device.is_empty() {
        parts.push(node.device.clone());
    }
    Some(parts.join(" · "))
}

/// `0-3,7`.
fn ranks(ranks: &[u32]) -> String {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut text = String::new();
    let mut rest = sorted.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let run = after
            .iter()
            .zip(first + 1..)
            .take_while(|(rank, expected)| *rank == expected)
            .count();
        let separator = if text.is_empty() { "" } else { "," };
        // A string cannot fail to take text.
        let _ = match run {
            0 => write!(text, "{separator}{first}"),
            _ => write!(text, "{separator}{first}-{}", first + run as u32),
        };
        rest = &after[run..];
    }
    text
}

fn measured(node: &PlanNode, busy: &Busy) -> Option<String> {
    let mut parts = Vec::new();
    parts.extend(node.rows.map(|rows| format!("{} rows", rough_count(rows))));
    if let Some(own) = node.busy_us {
        let share = busy
            .percent(node)
            .map(|percent| format!(" ({percent} %)"))
            .unwrap_or_default();
        parts.push(format!("{}{share}", microseconds(own)));
    }
    let bytes = [
        ("read", node.bytes_scanned),
        ("shuffled", node.bytes_shuffled),
        ("spilled", node.bytes_spilled),
        ("wrote", node.bytes_written),
    ];
    for (verb, amount) in bytes {
        parts.extend(
            amount
                .filter(|bytes| *bytes > 0)
                .map(|b| format!("{verb} {}", format_bytes(b))),
        );
    }
    (!parts.is_empty()).then(|| parts.join(" · "))
}

fn html_node(
    html: &mut String,
    node: &PlanNode,
    parent: Option<&PlanNode>,
    depth: usize,
    busy: &Busy,
) {
    let open = if depth < OPEN_DEPTH { " open" } else { "" };
    let head = html_head(node, parent, busy);
    if node.children.is_empty() {
        html.push_str(&format!("<div style=\"padding-left:14px\">{head}</div>"));
        return;
    }
    let indent = if depth == 0 { 0 } else { 14 };
    html.push_str(&format!(
        "<details{open} style=\"padding-left:{indent}px\"><summary>{head}</summary>"
    ));
    for child in &node.children {
        html_node(html, child, Some(node), depth + 1, busy);
    }
    html.push_str("</details>");
}

fn html_head(node: &PlanNode, parent: Option<&PlanNode>, busy: &Busy) -> String {
    let mut head = String::new();
    if let Some(percent) = busy.percent(node) {
        head.push_str(&format!(
            "<meter min=\"0\" max=\"100\" value=\"{percent}\" style=\"width:60px\" title=\"{percent} % of busy time\"></meter> "
        ));
    }
    head.push_str(&format!("<b>{}</b>", escape_html(&node.name)));
    if let Some(place) = place(node, parent) {
        head.push_str(&format!(
            " <small style=\"opacity:0.7\">[{}]</small>",
            escape_html(&place)
        ));
    }
    if let Some(measured) = measured(node, busy) {
        head.push_str(&format!(" <small>{}</small>", escape_html(&measured)));
    }
    if busy.is_hottest(node) {
        head.push_str(" <small><b>◀ hottest</b></small>");
    }
    let details = clip(&one_line(&node.details), HTML_DETAILS_WIDTH);
    if !details.is_empty() {
        head.push_str(&format!(
            " <small style=\"opacity:0.6\">{}</small>",
            escape_html(&details)
        ));
    }
    head
}
