//! The rows of a frame, written by the engines that hold them to memory of the caller: no row passes
//! through a socket.

use crate::cluster::Cluster;
use arrow_flight::Ticket;
use arrow_flight::flight_service_client::FlightServiceClient;
use bireme_protocol::proto::{
    CatalogEntry, LayoutKind, PartitionFacts, SharedArray, SharedBatch, SharedPart,
};
use bireme_protocol::{Address, ErrorCode, Fault};
use futures::future::try_join_all;
use prost::Message;
use std::collections::HashMap;
use std::time::Duration;

/// How long an engine may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A partition of a segment, and where it is.
struct Part {
    address: String,
    /// `SEGMENT:PARTITION`.
    name: String,
    /// The file it is written to.
    file: usize,
}

impl Cluster {
    /// Has the engines write a frame to these files in memory, by path: several at once, and those
    /// parts that share a file one behind the other. Tells what lies where, by engine, then partition,
    /// then the order in which rows were added.
    ///
    /// # Errors
    /// The entry is no frame, a part of it is lost, nobody answers, or there is no memory.
    pub async fn gather(
        &self,
        entry: &CatalogEntry,
        files: &[String],
    ) -> Result<Vec<SharedBatch>, Fault> {
        let parts = self.parts(entry, files.len()).await?;
        let lanes = files.iter().enumerate().map(|(index, file)| {
            let own = parts.iter().enumerate();
            let own = own.filter(move |(_, part)| part.file == index);
            fill(file, index, own.collect())
        });
        let mut filled: Vec<(usize, Vec<SharedBatch>)> =
            try_join_all(lanes).await?.into_iter().flatten().collect();
        filled.sort_by_key(|(part, _)| *part);
        Ok(filled
            .into_iter()
            .flat_map(|(_, batches)| batches)
            .collect())
    }

    /// The parts of a frame in their order, dealt to so many files.
    async fn parts(&self, entry: &CatalogEntry, files: usize) -> Result<Vec<Part>, Fault> {
        let refused = |code, reason: &str| {
            let message = format!("gather {:?}: {reason}", entry.name);
            Fault::new(code, message)
        };
        let Some(frame) = &entry.frame else {
            return Err(refused(ErrorCode::InvalidArgument, "it is no frame"));
        };
        if !frame.lost.is_empty() {
            return Err(refused(ErrorCode::NotFound, &frame.lost));
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
        let dealt = parts.into_iter().enumerate();
        dealt
            .map(|(index, (part, _, segment))| {
                let rank = part.rank;
                let address = addresses.get(&rank).cloned().ok_or_else(|| {
                    let reason = format!("engine {rank}, which holds a part of it, is not there");
                    refused(ErrorCode::EngineLost, &reason)
                })?;
                Ok(Part {
                    address,
                    name: format!("{segment}:{}", part.partition),
                    file: index % files.max(1),
                })
            })
            .collect()
    }
}

/// Has parts written to one file, one after the other. Gives what lies where, by part.
async fn fill(
    file: &str,
    index: usize,
    parts: Vec<(usize, &Part)>,
) -> Result<Vec<(usize, Vec<SharedBatch>)>, Fault> {
    let mut filled = Vec::with_capacity(parts.len());
    let mut end = 0;
    for (number, part) in parts {
        let mut written = fill_part(file, end, part).await?;
        let columns = written.batches.iter_mut().flat_map(|one| &mut one.columns);
        columns.for_each(|column| lies_in(column, u32::try_from(index).unwrap_or(u32::MAX)));
        end = written.end;
        filled.push((number, written.batches));
    }
    Ok(filled)
}

async fn fill_part(file: &str, at: u64, part: &Part) -> Result<SharedPart, Fault> {
    let address = part.address.parse::<Address>()?.data_plane();
    let mut engine = FlightServiceClient::new(address.connect().await?);
    let ticket = Ticket::new(format!("fill:{file}:{at}:{}", part.name));
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, engine.do_get(ticket)).await;
    let answer = answer.map_err(|_| {
        let message = format!("gather from {address}: no answer in {ANSWER_TIMEOUT:?}");
        Fault::new(ErrorCode::Unavailable, message)
    })?;
    let mut messages = answer?.into_inner();
    let mut written = SharedPart {
        batches: Vec::new(),
        end: at,
    };
    while let Some(message) = messages.message().await? {
        let next = SharedPart::decode(message.app_metadata)
            .map_err(|error| Fault::internal("read where rows lie").with_sources(&error))?;
        written.end = next.end;
        written.batches.extend(next.batches);
    }
    Ok(written)
}

/// Engines know one file only.
fn lies_in(array: &mut SharedArray, file: u32) {
    for buffer in array.nulls.iter_mut().chain(&mut array.buffers) {
        buffer.file = file;
    }
    array.children.iter_mut().for_each(|one| lies_in(one, file));
}
