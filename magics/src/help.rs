//! Help, from the registry: the page of a magic, the list of all, the docs page, and the page of a
//! view or table for `name?`.

use bireme_protocol::Fault;
use bireme_protocol::proto::{CatalogEntry, EntryKind};

use crate::column_ranges::{ColumnRange, ranges};
use crate::columns::columns;
use crate::completion::{self, Names};
use crate::display::grid::{Cell, Column, Grid};
use crate::display::listing::under;
use crate::display::units::{count, counted, escape_html};
use crate::frame;
use crate::host::Host;
use crate::magic::{BodyKind, Form, Forms, Magic, Spec};
use crate::mime_bundle::MimeBundle;
use crate::parse::HelpRequest;
use crate::registry::{self, REGISTRY};
use crate::runner::attach;

/// Answers a question: a magic, a view or table, and for `?name` also a column, a function or a
/// parameter. `None` when nothing of ours has that name, or when the question may be Rust
/// and Rust knows the name.
///
/// # Errors
/// The session's names could not be asked for.
pub async fn answer(host: &dyn Host, request: &HelpRequest) -> Result<Option<MimeBundle>, Fault> {
    if !request.is_certain && host.is_rust_name(&request.name) {
        return Ok(None);
    }
    if let Some(magic) = registry::find(&request.name) {
        return Ok(Some(page(magic)));
    }
    if request.form.is_some() {
        return Ok(None);
    }
    // A question that may be Rust must not start a cluster.
    let is_ours = request.is_certain && !host.is_rust_name(&request.name);
    let service = match (host.attached(), is_ours) {
        (Some(service), _) => service,
        (None, true) => attach(host).await?,
        (None, false) => return Ok(None),
    };
    let catalog = match service.catalog().await {
        // What may be Rust must not fail because the cluster does.
        Err(fault) if !is_ours => {
            tracing::debug!(%fault, name = %request.name, "asked the catalog for a name");
            return Ok(None);
        }
        catalog => catalog?,
    };
    let entry = catalog
        .entries
        .iter()
        .find(|entry| entry.name.eq_ignore_ascii_case(&request.name));
    if let Some(entry) = entry {
        return Ok(Some(table_page(entry)));
    }
    if !is_ours {
        return Ok(None);
    }
    let names = Names::new(&catalog, host.parameters());
    Ok(completion::word(&request.name, &names))
}

/// Whether an answer takes a cluster and none is attached.
pub fn starts_cluster(host: &dyn Host, request: &HelpRequest) -> bool {
    let is_magic = request.form.is_some() || registry::find(&request.name).is_some();
    request.is_certain && !is_magic && host.attached().is_none()
}

/// The page of a magic.
pub fn page(magic: &'static dyn Magic) -> MimeBundle {
    let spec = magic.spec();
    MimeBundle::new(plain_page(spec), html_page(spec))
}

/// All magics in one list.
pub fn list() -> MimeBundle {
    let mut grid = Grid::new(vec![Column::left("magic"), Column::left("what it does")]);
    for magic in REGISTRY {
        let spec = magic.spec();
        grid.push(vec![titles(spec).into(), spec.summary.into()]);
    }
    under("%name? shows the page of one", &grid)
}

/// The docs page: every magic in Markdown.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Magics\n\n<!-- Generated from the registry in magics/src/registry.rs: see CONTRIBUTING. -->\n\n\
         A cell magic heads its cell, a line magic starts a statement. `%name?` shows the page of one.\n\n",
    );
    for magic in REGISTRY {
        let spec = magic.spec();
        let anchor = titles(spec).replace([' ', ','], "-").replace('%', "");
        page.push_str(&format!(
            "- [`{}`](#{}) {}\n",
            titles(spec),
            anchor.replace("--", "-"),
            spec.summary
        ));
    }
    for magic in REGISTRY {
        markdown_section(&mut page, magic.spec());
    }
    page
}

fn markdown_section(page: &mut String, spec: &Spec) {
    page.push_str(&format!(
        "\n## {}\n\n{}\n\n```text\n",
        titles(spec),
        spec.summary
    ));
    usages(spec)
        .iter()
        .for_each(|usage| page.push_str(&format!("{usage}\n")));
    page.push_str("```\n");
    if !spec.doc.is_empty() {
        page.push_str(&format!("\n{}\n", spec.doc));
    }
    let arguments = arguments(spec);
    if !arguments.is_empty() {
        page.push_str("\n| argument | default | |\n|---|---|---|\n");
        for [name, default, doc] in arguments {
            let name = name.replace('|', "\\|");
            page.push_str(&format!("| `{name}` | {default} | {doc} |\n"));
        }
    }
    for example in spec.examples {
        page.push_str(&format!(
            "\nTo {}:\n\n```text\n{}\n```\n",
            example.doc, example.cell
        ));
    }
}

/// `%sql`, `%%sql` or both.
fn titles(spec: &Spec) -> String {
    match spec.forms {
        Forms::Line => format!("%{}", spec.name),
        Forms::Cell => format!("%%{}", spec.name),
        Forms::Both => format!("%%{0}, %{0}", spec.name),
    }
}

/// How the forms are written.
fn usages(spec: &Spec) -> Vec<String> {
    [Form::Cell, Form::Line]
        .into_iter()
        .filter(|form| spec.forms.has(*form))
        .map(|form| usage(spec, form))
        .collect()
}

fn usage(spec: &Spec, form: Form) -> String {
    let mut usage = format!("{}{}", form.prefix(), spec.name);
    let has_line_body = form == Form::Line && spec.body != BodyKind::None;
    let arrow = if has_line_body { " <<" } else { "" };
    let positionals = || {
        spec.positionals
            .iter()
            .map(|positional| match positional.is_required {
                true => format!(" {}{arrow}", positional.name),
                false => format!(" [{}{arrow}]", positional.name),
            })
    };
    if form == Form::Cell || !has_line_body {
        positionals().for_each(|text| usage.push_str(&text));
    }
    for flag in spec.flags.iter().filter(|flag| !flag.is_later) {
        let value = flag
            .value
            .map(|kind| format!(" {}", kind.placeholder()))
            .unwrap_or_default();
        usage.push_str(&format!(" [--{}{value}]", flag.name));
    }
    if has_line_body {
        positionals().for_each(|text| usage.push_str(&text));
    }
    match (spec.body, form) {
        (BodyKind::None, _) => {}
        (body, Form::Line) => usage.push_str(&format!(" {}", body.placeholder())),
        (body, Form::Cell) => usage.push_str(&format!("\n{}", body.placeholder())),
    }
    usage
}

/// Name, default and doc of every argument.
fn arguments(spec: &Spec) -> Vec<[String; 3]> {
    let positionals = spec.positionals.iter().map(|positional| {
        [
            positional.name.to_string(),
            String::new(),
            positional.doc.to_string(),
        ]
    });
    let flags = spec.flags.iter().filter(|flag| !flag.is_later).map(|flag| {
        let value = flag
            .value
            .map(|kind| format!(" {}", kind.placeholder()))
            .unwrap_or_default();
        [
            format!("--{}{value}", flag.name),
            flag.default.to_string(),
            flag.doc.to_string(),
        ]
    });
    positionals.chain(flags).collect()
}

fn plain_page(spec: &Spec) -> String {
    let mut page = format!("{}\n  {}\n\nUsage:\n", titles(spec), spec.summary);
    for usage in usages(spec) {
        page.push_str(&format!("  {}\n", usage.replace('\n', "\n  ")));
    }
    let arguments = arguments(spec);
    if !arguments.is_empty() {
        let width = arguments
            .iter()
            .map(|[name, ..]| name.chars().count())
            .max()
            .unwrap_or(0);
        page.push_str("\nArguments:\n");
        for [name, default, doc] in arguments {
            let default = match default.is_empty() {
                true => String::new(),
                false => format!(" (default: {default})"),
            };
            page.push_str(&format!("  {name:width$}  {doc}{default}\n"));
        }
    }
    if !spec.doc.is_empty() {
        page.push_str(&format!("\n{}\n", spec.doc));
    }
    if !spec.examples.is_empty() {
        page.push_str("\nExamples:\n");
    }
    for example in spec.examples {
        page.push_str(&format!(
            "  # {}\n  {}\n",
            example.doc,
            example.cell.replace('\n', "\n  ")
        ));
    }
    page
}

fn html_page(spec: &Spec) -> String {
    let mut html = format!(
        "<h3>{}</h3><p>{}</p>",
        escape_html(&titles(spec)),
        code(spec.summary)
    );
    html.push_str(&format!(
        "<pre>{}</pre>",
        escape_html(&usages(spec).join("\n"))
    ));
    let arguments = arguments(spec);
    if !arguments.is_empty() {
        let mut grid = Grid::new(vec![
            Column::left("argument"),
            Column::left("default"),
            Column::left(""),
        ]);
        for [name, default, doc] in arguments {
            grid.push(vec![name.into(), Cell::dim(default), doc.into()]);
        }
        html.push_str(&grid.to_html());
    }
    for paragraph in spec
        .doc
        .split("\n\n")
        .filter(|paragraph| !paragraph.is_empty())
    {
        html.push_str(&format!("<p>{}</p>", code(paragraph)));
    }
    for example in spec.examples {
        let cell = escape_html(example.cell);
        html.push_str(&format!(
            "<p>To {}:</p><pre>{cell}</pre>",
            escape_html(example.doc)
        ));
    }
    html
}

/// Markdown's back-ticks as HTML.
fn code(text: &str) -> String {
    let parts = text
        .split('`')
        .enumerate()
        .map(|(index, part)| match index % 2 {
            0 => escape_html(part),
            _ => format!("<code>{}</code>", escape_html(part)),
        });
    parts.collect()
}

/// The page of a view or table: what it is, its columns, its definition.
pub fn table_page(entry: &CatalogEntry) -> MimeBundle {
    let columns = columns(&entry.schema_json);
    let kind = match entry.kind() {
        EntryKind::ExternalTable => "external table",
        EntryKind::Frame => "frame",
        EntryKind::View | EntryKind::Unspecified => "view",
    };
    let facts = match &entry.frame {
        Some(frame) if !frame.lost.is_empty() => format!("lost: {}", frame.lost),
        Some(_) => frame::describe(entry),
        None => counted(columns.len() as u64, "column"),
    };
    let listing = under(
        &format!("{kind} {} · {facts}", entry.name),
        &column_grid(entry, columns),
    );
    MimeBundle::new(
        format!("{}\n\n{}", listing.plain, entry.sql),
        format!(
            "{}<pre>{}</pre>",
            listing.html.unwrap_or_default(),
            escape_html(&entry.sql)
        ),
    )
}

/// Names and types of columns, and what is known of their values.
fn column_grid(entry: &CatalogEntry, columns: Vec<(String, String)>) -> Grid {
    let mut heads = vec![Column::left("column"), Column::left("type")];
    let ranges = ranges(entry);
    if ranges.is_some() {
        heads.extend(["min", "max", "nulls"].map(Column::right));
    }
    let mut grid = Grid::new(heads);
    let mut ranges = ranges.into_iter().flatten();
    for (name, data_type) in columns {
        let mut row = vec![name.into(), Cell::dim(data_type)];
        if let Some(ColumnRange {
            least,
            greatest,
            nulls,
        }) = ranges.next()
        {
            row.extend([least, greatest].map(|end| end.unwrap_or_default().into()));
            row.push(count(nulls).into());
        }
        grid.push(row);
    }
    grid
}
