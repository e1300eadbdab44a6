//! Partitions of frames that other engines hold, by Arrow Flight from their data planes. It serves
//! plans that run whole on the head; distributed plans read partitions where they are.

use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use bireme_operators::RemoteFrames;
use bireme_protocol::{Address, ErrorCode, Fault, QueryId};
use bireme_settings::Home;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

/// What a ticket for a partition begins with.
const TICKET: &str = "frame";

/// One partition of a segment, as a ticket names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionTicket {
    pub(crate) segment: QueryId,
    pub(crate) partition: usize,
}

impl PartitionTicket {
    fn to_text(self) -> String {
        format!("{TICKET}:{}:{}", self.segment, self.partition)
    }

    /// Reads a ticket, if it is one for a partition.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        if parts.next() != Some(TICKET) {
            return None;
        }
        let segment = parts.next()?.parse().ok()?;
        let partition = parts.next()?.parse().ok()?;
        Some(Self { segment, partition })
    }
}

/// The engines of a cluster, by rank.
#[derive(Debug)]
pub(crate) struct Peers {
    home: Home,
}

impl Peers {
    pub(crate) fn new(home: Home) -> Self {
        Self { home }
    }

    /// An engine's data plane, also of one that is about to leave.
    fn address(&self, rank: u32) -> Address {
        Address::unix(self.home.engine_socket(rank)).data_plane()
    }
}

impl RemoteFrames for Peers {
    fn fetch(
        &self,
        rank: u32,
        segment: QueryId,
        partition: usize,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream> {
        let address = self.address(rank);
        let ticket = PartitionTicket { segment, partition }.to_text();
        let rows = futures::stream::once(async move {
            let mut client = FlightServiceClient::new(address.connect_lazily());
            let messages = client
                .do_get(Ticket::new(ticket))
                .await
                .map_err(|status| external(Fault::from(status)))?;
            let messages = messages.into_inner().map_err(Into::into);
            let rows = FlightRecordBatchStream::new_from_flight_data(messages);
            Ok::<_, DataFusionError>(rows.map_err(|error| external(flight_fault(error))))
        });
        let rows = rows.try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            schema,
            rows.boxed(),
        )))
    }
}

fn flight_fault(error: arrow_flight::error::FlightError) -> Fault {
    match error {
        arrow_flight::error::FlightError::Tonic(status) => Fault::from(*status),
        other => Fault::new(ErrorCode::ExecutionError, format!("read a frame: {other}")),
    }
}

fn external(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_comes_back() {
        let ticket = PartitionTicket {
            segment: QueryId::random(),
            partition: 3,
        };
        assert_eq!(PartitionTicket::read(&ticket.to_text()), Some(ticket));
        assert_eq!(PartitionTicket::read(&ticket.segment.to_string()), None);
    }
}
