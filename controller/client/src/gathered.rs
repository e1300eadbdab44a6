//! The rows of a frame, straight from the engines that hold them, in the order of the partitions.

use crate::cluster::Cluster;
use crate::result_stream::{Piece, ResultStream};
use arrow::array::RecordBatch;
use bireme_protocol::proto::{CatalogEntry, LayoutKind, PartitionFacts};
use bireme_protocol::{ErrorCode, Fault};
use std::collections::{HashMap, VecDeque};

/// Rows of a frame on their way.
pub struct Gathered {
    /// Address and ticket of the partitions that are still to come.
    waiting: VecDeque<(String, String)>,
    current: Option<ResultStream>,
}

impl Cluster {
    /// Begins to read a frame: by engine, then partition, then the order in which rows were added.
    ///
    /// # Errors
    /// The entry is no frame, a part of it is lost, or nobody answers.
    pub async fn gather(&self, entry: &CatalogEntry) -> Result<Gathered, Fault> {
        let Some(frame) = &entry.frame else {
            let message = format!("gather {:?}: it is no frame", entry.name);
            return Err(Fault::new(ErrorCode::InvalidArgument, message));
        };
        if !frame.lost.is_empty() {
            let message = format!("gather {:?}: {}", entry.name, frame.lost);
            return Err(Fault::new(ErrorCode::NotFound, message));
        }
        let engines = self.status().await?.engines;
        let addresses: HashMap<u32, String> = engines
            .into_iter()
            .map(|engine| (engine.rank, engine.address))
            .collect();
        let mut parts: Vec<(&PartitionFacts, usize, &str)> = Vec::new();
        for (index, segment) in frame.segments.iter().enumerate() {
            let held = segment.partitions.iter().filter(|part| part.rows > 0);
            parts.extend(held.map(|part| (part, index, segment.id.as_str())));
        }
        let kind = frame.layout.as_ref().map(|layout| layout.kind());
        if kind == Some(LayoutKind::Replicated) {
            let copy = parts.iter().map(|(part, ..)| part.rank).min();
            parts.retain(|(part, ..)| Some(part.rank) == copy);
        }
        parts.sort_by_key(|(part, index, _)| (part.rank, part.partition, *index));
        let waiting: Result<_, Fault> = parts
            .into_iter()
            .map(|(part, _, segment)| {
                let address = addresses.get(&part.rank).cloned().ok_or_else(|| {
                    let message = format!(
                        "gather {:?}: engine {}, which holds a part of it, is not there",
                        entry.name, part.rank
                    );
                    Fault::new(ErrorCode::EngineLost, message)
                })?;
                Ok((address, format!("frame:{segment}:{}", part.partition)))
            })
            .collect();
        Ok(Gathered {
            waiting: waiting?,
            current: None,
        })
    }
}

impl Gathered {
    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// An engine no longer holds what it held.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Fault> {
        loop {
            let Some(stream) = &mut self.current else {
                let Some((address, ticket)) = self.waiting.pop_front() else {
                    return Ok(None);
                };
                self.current = Some(ResultStream::fetch_ticket(&address, ticket).await?);
                continue;
            };
            match stream.next_rows().await? {
                Some(Piece::Batch(batch)) => return Ok(Some(batch)),
                Some(_) => {}
                None => self.current = None,
            }
        }
    }
}
