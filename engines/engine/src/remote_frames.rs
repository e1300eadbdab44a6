//! Partitions of frames that other engines hold, by Arrow Flight from their data planes. It serves
//! plans that run whole on the head; distributed plans read partitions where they are.

use arrow_flight::Ticket;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::flight_service_client::FlightServiceClient;
use bireme_operators::{RemoteFrames, RemotePart};
use bireme_protocol::{Address, ErrorCode, Fault};
use bireme_settings::Home;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};

/// What a ticket for a partition begins with.
const TICKET: &str = "frame";

/// A ticket for columns of a partition: `frame:SEGMENT:PARTITION`, then `:0,3` unless it is for all.
fn to_ticket(part: &RemotePart) -> String {
    let RemotePart {
        segment,
        partition,
        columns,
    } = part;
    let columns = columns.as_ref().map_or_else(String::new, |columns| {
        let columns: Vec<String> = columns.iter().map(usize::to_string).collect();
        format!(":{}", columns.join(","))
    });
    format!("{TICKET}:{segment}:{partition}{columns}")
}

/// Reads a ticket, if it is one for a partition.
pub(crate) fn read_ticket(text: &str) -> Option<RemotePart> {
    let mut parts = text.split(':');
    if parts.next() != Some(TICKET) {
        return None;
    }
    let segment = parts.next()?.parse().ok()?;
    let partition = parts.next()?.parse().ok()?;
    let columns = match parts.next() {
        Some("") => Some(Vec::new()),
        Some(columns) => Some(
            columns
                .split(',')
                .map(|c| c.parse().ok())
                .collect::<Option<_>>()?,
        ),
        None => None,
    };
    Some(RemotePart {
        segment,
        partition,
        columns,
    })
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
        part: RemotePart,
        schema: SchemaRef,
    ) -> Result<SendableRecordBatchStream> {
        let address = self.address(rank);
        let ticket = to_ticket(&part);
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
    use bireme_protocol::QueryId;

    #[test]
    fn a_ticket_comes_back() {
        for columns in [None, Some(vec![]), Some(vec![7]), Some(vec![2, 0])] {
            let part = RemotePart {
                segment: QueryId::random(),
                partition: 3,
                columns,
            };
            assert_eq!(read_ticket(&to_ticket(&part)), Some(part));
        }
        assert_eq!(read_ticket(&QueryId::random().to_string()), None);
    }
}
