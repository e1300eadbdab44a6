//! A notebook as a JSON document. Whatever it holds that we do not know is kept as it is; what we
//! write is nbformat 4.5.

use crate::error::CliError;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// The cell papermill looks for.
const PARAMETERS: &str = "parameters";
/// The cell papermill makes.
const INJECTED: &str = "injected-parameters";
/// Longest id the format admits.
const ID_LENGTH_MAX: usize = 64;

/// A notebook.
pub(crate) struct Notebook {
    pub(crate) path: PathBuf,
    cells: Vec<Value>,
    /// Everything but the cells.
    rest: Map<String, Value>,
}

impl Notebook {
    /// Reads a notebook of any version and brings it to 4.5.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| CliError::io(format!("read {}", path.display()), source))?;
        let invalid = |reason: String| CliError::Notebook {
            path: path.to_owned(),
            reason,
        };
        let value: Value =
            serde_json::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        let value = match value.get("nbformat").and_then(Value::as_u64) {
            Some(4) => value,
            Some(_) => upgrade(&text).map_err(invalid)?,
            None => return Err(invalid("it has no nbformat: not a notebook".into())),
        };
        let Value::Object(mut rest) = value else {
            return Err(invalid("it is no JSON object".into()));
        };
        let Some(Value::Array(cells)) = rest.shift_remove("cells") else {
            return Err(invalid("it has no cells".into()));
        };
        let mut notebook = Self {
            path: path.to_owned(),
            cells,
            rest,
        };
        notebook.bring_to_4_5();
        Ok(notebook)
    }

    /// Gives every cell an id of its own and everything else 4.5 asks for.
    fn bring_to_4_5(&mut self) {
        let minor = self.rest.get("nbformat_minor").and_then(Value::as_u64);
        if !self.rest.get("metadata").is_some_and(Value::is_object) {
            self.rest.insert("metadata".into(), json!({}));
        }
        self.rest.insert("nbformat".into(), json!(4));
        self.rest
            .insert("nbformat_minor".into(), json!(minor.unwrap_or(5).max(5)));
        let mut seen = HashSet::new();
        for cell in self.cells.iter_mut().filter_map(Value::as_object_mut) {
            let id = cell
                .get("id")
                .and_then(Value::as_str)
                .filter(|id| is_id(id))
                .map(str::to_owned);
            let id = id.filter(|id| !seen.contains(id)).unwrap_or_else(new_id);
            seen.insert(id.clone());
            cell.insert("id".into(), json!(id));
            if !cell.get("metadata").is_some_and(Value::is_object) {
                cell.insert("metadata".into(), json!({}));
            }
        }
    }

    /// Puts a cell with parameters behind the one tagged so, or first of all.
    pub(crate) fn inject_parameters(&mut self, parameters: &[(String, String)]) {
        if parameters.is_empty() {
            return;
        }
        let source: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("%param {name} = {value}"))
            .collect();
        let cell = json!({
            "cell_type": "code",
            "execution_count": null,
            "id": new_id(),
            "metadata": {"tags": [INJECTED]},
            "outputs": [],
            "source": source.join("\n"),
        });
        let cells = &mut self.cells;
        let tagged = |tag: &str| cells.iter().position(|cell| has_tag(cell, tag));
        match (tagged(INJECTED), tagged(PARAMETERS)) {
            (Some(old), _) => cells[old] = cell,
            (None, Some(defaults)) => cells.insert(defaults + 1, cell),
            (None, None) => cells.insert(0, cell),
        }
    }

    /// How many cells there are.
    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// The text of the code cell at a place; `None` for other cells and empty ones.
    pub(crate) fn code(&self, index: usize) -> Option<String> {
        let cell = self.cells.get(index)?;
        let is_code = cell.get("cell_type").and_then(Value::as_str) == Some("code");
        let source = multiline(cell.get("source")?);
        (is_code && !source.trim().is_empty()).then_some(source)
    }

    /// The id of a cell, as a front end sends them along.
    pub(crate) fn cell_metadata(&self, index: usize) -> Map<String, Value> {
        let id = self
            .cells
            .get(index)
            .and_then(|cell| cell.get("id"))
            .cloned()
            .unwrap_or_default();
        Map::from_iter([("cellId".to_owned(), id)])
    }

    /// Whether a cell is tagged so that its failure does not matter.
    pub(crate) fn may_fail(&self, index: usize) -> bool {
        self.cells
            .get(index)
            .is_some_and(|cell| has_tag(cell, "raises-exception"))
    }

    /// Removes all outputs: what is there afterwards is of this run.
    pub(crate) fn clear_outputs(&mut self) {
        for cell in self.cells.iter_mut().filter_map(Value::as_object_mut) {
            if cell.get("cell_type").and_then(Value::as_str) == Some("code") {
                cell.insert("execution_count".into(), Value::Null);
                cell.insert("outputs".into(), json!([]));
            }
        }
    }

    /// Sets what a cell gave.
    pub(crate) fn set_outputs(&mut self, index: usize, count: Option<u32>, outputs: Vec<Value>) {
        if let Some(cell) = self.cells.get_mut(index).and_then(Value::as_object_mut) {
            cell.insert("execution_count".into(), json!(count));
            cell.insert("outputs".into(), Value::Array(outputs));
        }
    }

    /// Replaces the outputs of a cell that ran before.
    pub(crate) fn replace_outputs(&mut self, index: usize, outputs: Vec<Value>) {
        if let Some(cell) = self.cells.get_mut(index).and_then(Value::as_object_mut) {
            cell.insert("outputs".into(), Value::Array(outputs));
        }
    }

    /// Says which kernel ran it.
    pub(crate) fn set_kernel(&mut self, language_info: &Value) {
        if let Some(metadata) = self.rest.get_mut("metadata").and_then(Value::as_object_mut) {
            let kernelspec =
                json!({"display_name": "Rust (Bireme)", "language": "rust", "name": "bireme"});
            metadata.insert("kernelspec".into(), kernelspec);
            metadata.insert("language_info".into(), language_info.clone());
        }
    }

    /// Writes the notebook so that a reader sees the old file or the new one, never half of one.
    pub(crate) fn write(&self, path: &Path) -> Result<(), CliError> {
        let unfinished = path.with_extension("ipynb.part");
        let failed = |source| CliError::io(format!("write {}", path.display()), source);
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        let mut document = Map::from_iter([("cells".to_owned(), json!(self.cells))]);
        document.extend(self.rest.clone());
        document
            .serialize(&mut serializer)
            .map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        std::fs::write(&unfinished, text).map_err(failed)?;
        std::fs::rename(&unfinished, path).map_err(failed)
    }
}

/// Reads version 3, the last one before 4.
fn upgrade(text: &str) -> Result<Value, String> {
    let upgraded = match nbformat::parse_notebook(text) {
        Ok(nbformat::Notebook::V3(old)) => {
            nbformat::upgrade_v3_notebook(old).map_err(|error| error.to_string())?
        }
        Ok(_) => return Err("its version is not one that can be upgraded".into()),
        Err(error) => return Err(error.to_string()),
    };
    serde_json::to_value(upgraded).map_err(|error| error.to_string())
}

/// Text that may be a list of lines.
fn multiline(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// Text as the list of lines notebooks keep.
pub(crate) fn lines(text: &str) -> Value {
    text.split_inclusive('\n').collect()
}

fn has_tag(cell: &Value, tag: &str) -> bool {
    let tags = cell.pointer("/metadata/tags").and_then(Value::as_array);
    tags.is_some_and(|tags| tags.iter().any(|known| known.as_str() == Some(tag)))
}

fn is_id(id: &str) -> bool {
    (1..=ID_LENGTH_MAX).contains(&id.len())
        && id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

fn new_id() -> String {
    Uuid::new_v4().simple().to_string()[..8].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cells: &Value) -> (tempfile::TempDir, Notebook) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.ipynb");
        let text =
            json!({"cells": cells, "metadata": {"x": 1}, "nbformat": 4, "nbformat_minor": 2});
        std::fs::write(&path, text.to_string()).unwrap();
        let notebook = Notebook::read(&path).unwrap();
        (directory, notebook)
    }

    fn code(source: &str, tags: &[&str]) -> Value {
        json!({"cell_type": "code", "metadata": {"tags": tags}, "source": source, "outputs": []})
    }

    #[test]
    fn parameters_go_behind_the_tagged_cell_and_replace_older_ones() {
        let (_directory, mut notebook) = read(&json!([
            code("1", &[]),
            code("%param a = 1", &["parameters"])
        ]));
        notebook.inject_parameters(&[("a".into(), "2".into()), ("b".into(), "x y".into())]);
        assert_eq!(
            notebook.code(2).as_deref(),
            Some("%param a = 2\n%param b = x y")
        );
        notebook.inject_parameters(&[("a".into(), "3".into())]);
        assert_eq!(
            (notebook.len(), notebook.code(2).as_deref()),
            (3, Some("%param a = 3"))
        );
    }

    #[test]
    fn what_is_written_is_valid_and_keeps_what_was_there() {
        let (directory, mut notebook) = read(&json!([code("1 + 1", &["keep"])]));
        notebook.set_outputs(
            0,
            Some(1),
            vec![json!({"output_type": "stream", "name": "stdout", "text": ["2"]})],
        );
        let path = directory.path().join("b.ipynb");
        notebook.write(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(matches!(
            nbformat::parse_notebook(&text).unwrap(),
            nbformat::Notebook::V4(_)
        ));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value.pointer("/metadata/x"), Some(&json!(1)));
        assert_eq!(
            value.pointer("/cells/0/metadata/tags/0"),
            Some(&json!("keep"))
        );
    }
}
