//! From the messages of cells to the outputs a notebook keeps, with updates of earlier displays and
//! removals applied, as a front end would show them.

use super::notebook::lines;
use bireme_jupyter::FrontendMessage;
use bireme_jupyter::wire::{JsonMap, MimeBundle, StreamName};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The outputs of all cells so far.
#[derive(Default)]
pub(crate) struct CellOutputs {
    cells: HashMap<usize, Vec<Value>>,
    /// Where displays with an id are: cell and place in it.
    displays: HashMap<String, Vec<(usize, usize)>>,
    /// The next output of this cell removes those before it.
    clears_next: Option<usize>,
}

impl CellOutputs {
    /// The outputs of a cell.
    pub(crate) fn of(&self, cell: usize) -> Vec<Value> {
        self.cells.get(&cell).cloned().unwrap_or_default()
    }

    /// Applies a message of a cell; gives the other cells whose outputs it changed.
    pub(crate) fn apply(&mut self, cell: usize, message: &FrontendMessage) -> Vec<usize> {
        match message {
            FrontendMessage::Stream(stream) => {
                let name = match stream.name {
                    StreamName::Stdout => "stdout",
                    StreamName::Stderr => "stderr",
                };
                self.print(cell, name, &stream.text);
            }
            FrontendMessage::ExecuteResult(result) => {
                let output = json!({
                    "output_type": "execute_result",
                    "execution_count": result.execution_count,
                    "data": data(&result.data),
                    "metadata": result.metadata,
                });
                self.push(cell, output);
            }
            FrontendMessage::DisplayData(display) => {
                let place = self.push(cell, shown(&display.data, &display.metadata));
                if let Some(id) = &display.transient.display_id {
                    self.displays
                        .entry(id.clone())
                        .or_default()
                        .push((cell, place));
                }
            }
            FrontendMessage::UpdateDisplayData(display) => {
                return self.update(
                    cell,
                    display.transient.display_id.as_deref(),
                    &shown(&display.data, &display.metadata),
                );
            }
            FrontendMessage::ClearOutput(clear) if clear.wait => self.clears_next = Some(cell),
            FrontendMessage::ClearOutput(_) => self.clear(cell),
            FrontendMessage::Error(error) => {
                let output = json!({
                    "output_type": "error",
                    "ename": error.ename,
                    "evalue": error.evalue,
                    "traceback": error.traceback,
                });
                self.push(cell, output);
            }
            FrontendMessage::ExecuteInput(_)
            | FrontendMessage::InputRequest(_)
            | FrontendMessage::Other(_) => {}
        }
        Vec::new()
    }

    fn print(&mut self, cell: usize, name: &str, text: &str) {
        self.clear_if_due(cell);
        let last = self.cells.entry(cell).or_default().last_mut();
        let same = last.filter(|last| {
            last.get("output_type") == Some(&json!("stream"))
                && last.get("name") == Some(&json!(name))
        });
        match same.and_then(|last| last.get_mut("text")) {
            Some(Value::Array(before)) => {
                // The last line may go on.
                let open = before
                    .pop()
                    .and_then(|line| line.as_str().map(str::to_owned));
                let text = open.unwrap_or_default() + text;
                if let Value::Array(more) = lines(&text) {
                    before.extend(more);
                }
            }
            _ => {
                self.push(
                    cell,
                    json!({"output_type": "stream", "name": name, "text": lines(text)}),
                );
            }
        }
    }

    fn push(&mut self, cell: usize, output: Value) -> usize {
        self.clear_if_due(cell);
        let outputs = self.cells.entry(cell).or_default();
        outputs.push(output);
        outputs.len() - 1
    }

    fn update(&mut self, cell: usize, id: Option<&str>, output: &Value) -> Vec<usize> {
        let places = id
            .and_then(|id| self.displays.get(id))
            .cloned()
            .unwrap_or_default();
        let mut others = Vec::new();
        for (place_cell, place) in places {
            let outputs = self.cells.entry(place_cell).or_default();
            if let Some(old) = outputs.get_mut(place) {
                old.clone_from(output);
            }
            if place_cell != cell {
                others.push(place_cell);
            }
        }
        others
    }

    fn clear_if_due(&mut self, cell: usize) {
        if self.clears_next == Some(cell) {
            self.clear(cell);
        }
    }

    fn clear(&mut self, cell: usize) {
        self.clears_next = None;
        self.cells.remove(&cell);
        for places in self.displays.values_mut() {
            places.retain(|(of, _)| *of != cell);
        }
    }
}

fn shown(bundle: &MimeBundle, metadata: &JsonMap) -> Value {
    json!({"output_type": "display_data", "data": data(bundle), "metadata": metadata})
}

/// Notebooks keep text as lists of lines, and JSON as it is.
fn data(bundle: &MimeBundle) -> Value {
    let map = bundle.clone().into_map();
    let kept = map.into_iter().map(|(mime, value)| {
        let is_json = mime == "application/json" || mime.ends_with("+json");
        let value = match value {
            Value::String(text) if !is_json => lines(&text),
            other => other,
        };
        (mime, value)
    });
    Value::Object(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bireme_jupyter::wire::{ClearOutput, DisplayData, Stream, Transient};

    fn print(text: &str) -> FrontendMessage {
        FrontendMessage::Stream(Stream {
            name: StreamName::Stdout,
            text: text.into(),
        })
    }

    fn display(text: &str) -> DisplayData {
        let transient = Transient {
            display_id: Some("a".into()),
        };
        DisplayData {
            data: MimeBundle::text(text),
            transient,
            ..DisplayData::default()
        }
    }

    #[test]
    fn text_of_one_stream_is_one_output() {
        let mut outputs = CellOutputs::default();
        for text in ["a", "b\nc", "d\n"] {
            outputs.apply(0, &print(text));
        }
        assert_eq!(
            outputs.of(0),
            [json!({"output_type": "stream", "name": "stdout", "text": ["ab\n", "cd\n"]})]
        );
    }

    #[test]
    fn an_update_reaches_the_cell_that_has_the_display() {
        let mut outputs = CellOutputs::default();
        outputs.apply(0, &FrontendMessage::DisplayData(display("old")));
        let changed = outputs.apply(1, &FrontendMessage::UpdateDisplayData(display("new")));
        assert_eq!(changed, [0]);
        assert_eq!(
            outputs.of(0)[0].pointer("/data/text~1plain/0"),
            Some(&json!("new"))
        );
        assert!(outputs.of(1).is_empty());
    }

    #[test]
    fn a_waiting_removal_happens_with_the_next_output() {
        let mut outputs = CellOutputs::default();
        outputs.apply(0, &print("old"));
        outputs.apply(0, &FrontendMessage::ClearOutput(ClearOutput { wait: true }));
        assert_eq!(outputs.of(0).len(), 1);
        outputs.apply(0, &print("new"));
        assert_eq!(outputs.of(0)[0].pointer("/text/0"), Some(&json!("new")));
    }
}
