//! Partitions of frames on their way to a cell of the same host: the engine writes them to memory that
//! the kernel holds open, and tells where they lie.

use crate::engine::Engine;
use crate::flight_service::batches_of;
use arrow_flight::FlightData;
use bireme_frames::{FramesError, SharedWriter};
use bireme_protocol::{ErrorCode, Fault, QueryId};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::Status;

/// What such a ticket begins with.
const TICKET: &str = "fill";

/// What is to be written where: `fill:PATH:OFFSET:SEGMENT:PARTITION`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FillTicket {
    path: String,
    offset: u64,
    segment: QueryId,
    partition: usize,
}

impl FillTicket {
    /// Reads a ticket, if it is one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        if parts.next() != Some(TICKET) {
            return None;
        }
        Some(Self {
            path: parts.next()?.to_string(),
            offset: parts.next()?.parse().ok()?,
            segment: parts.next()?.parse().ok()?,
            partition: parts.next()?.parse().ok()?,
        })
    }

    /// Writes the partition, batch by batch; a message tells of each.
    pub(crate) fn fill(
        &self,
        engine: &Engine,
    ) -> Result<BoxStream<'static, Result<FlightData, Status>>, Fault> {
        let failed =
            |code, error: FramesError| Fault::new(code, error.to_string()).on_engine(engine.rank());
        let writer = SharedWriter::open(&self.path, self.offset);
        let writer = writer.map_err(|error| failed(ErrorCode::InvalidArgument, error))?;
        let reader = engine.frames().read(self.segment, self.partition, None);
        let reader = reader.map_err(|error| failed(ErrorCode::NotFound, error))?;
        let batches = batches_of(reader).boxed();
        // The writer goes from batch to batch: they lie one behind the other.
        let written = futures::stream::try_unfold(
            (batches, writer),
            |(mut batches, mut writer)| async move {
                let Some(batch) = batches.try_next().await? else {
                    return Ok(None);
                };
                let writing = tokio::task::spawn_blocking(move || {
                    let written = writer.write(&batch);
                    written.map(|written| (written, writer))
                });
                let (written, writer) = writing.await.map_err(FramesError::ended)??;
                Ok::<_, FramesError>(Some((written, (batches, writer))))
            },
        );
        let rank = engine.rank();
        let messages = written.map(move |written| match written {
            Ok(part) => Ok(FlightData::new().with_app_metadata(part.encode_to_vec())),
            Err(error) => {
                let fault = Fault::new(ErrorCode::ExecutionError, FramesError::to_string(&error));
                Err(Status::from(fault.on_engine(rank)))
            }
        });
        Ok(messages.boxed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_tells_what_goes_where() {
        let segment = QueryId::random();
        let read = FillTicket::read(&format!("fill:/proc/1/fd/2:64:{segment}:3"));
        let expected = FillTicket {
            path: "/proc/1/fd/2".to_string(),
            offset: 64,
            segment,
            partition: 3,
        };
        assert_eq!(read, Some(expected));
        for other in [
            "fill:/proc/1/fd/2:64",
            "fill:/proc/1/fd/2:x:y:3",
            "frame:a:1",
        ] {
            assert_eq!(FillTicket::read(other), None, "{other}");
        }
    }
}
