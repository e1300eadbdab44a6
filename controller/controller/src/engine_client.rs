//! Calls to an engine, each with a deadline.

use bireme_protocol::address::MESSAGE_BYTES_MAX;
use bireme_protocol::proto::engine_client::EngineClient as Client;
use bireme_protocol::proto::{
    CatalogEntry, DescribeRequest, Empty, EngineCancelRequest, EngineMemory, ReadSpansRequest,
    Span, StartReply, StartRequest,
};
use bireme_protocol::{Address, ErrorCode, Fault, QueryId};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Planning a definition may read the files' footers.
const DESCRIBE_DEADLINE: Duration = Duration::from_secs(60);
const CANCEL_DEADLINE: Duration = Duration::from_secs(2);
const SPANS_DEADLINE: Duration = Duration::from_secs(2);
const MEMORY_DEADLINE: Duration = Duration::from_secs(2);

/// One engine's control service.
#[derive(Clone, Debug)]
pub(crate) struct EngineClient {
    rank: u32,
    client: Client<Channel>,
}

impl EngineClient {
    pub(crate) fn new(rank: u32, address: &Address) -> Self {
        let client = Client::new(address.connect_lazily())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Self { rank, client }
    }

    pub(crate) async fn start(
        mut self,
        request: StartRequest,
        limit: Duration,
    ) -> Result<StartReply, Fault> {
        let rank = self.rank;
        within(rank, "start a query", limit, self.client.start(request)).await
    }

    pub(crate) async fn describe(
        mut self,
        request: DescribeRequest,
    ) -> Result<CatalogEntry, Fault> {
        let rank = self.rank;
        let reply = self.client.describe(request);
        let reply = within(rank, "plan a definition", DESCRIBE_DEADLINE, reply).await?;
        reply.entry.ok_or_else(|| {
            Fault::internal("plan a definition: the engine answered without an entry")
                .on_engine(rank)
        })
    }

    pub(crate) async fn cancel(mut self, id: QueryId, fault: &Fault) -> Result<(), Fault> {
        let request = EngineCancelRequest {
            query_id: id.to_string(),
            fault_json: fault.to_json(),
        };
        let reply = self.client.cancel_query(request);
        within(self.rank, "cancel a query", CANCEL_DEADLINE, reply).await?;
        Ok(())
    }

    pub(crate) async fn spans(mut self, query_id: String) -> Result<Vec<Span>, Fault> {
        let reply = self.client.read_spans(ReadSpansRequest { query_id });
        let reply = within(self.rank, "read spans", SPANS_DEADLINE, reply).await?;
        Ok(reply.spans)
    }

    pub(crate) async fn memory(mut self) -> Result<EngineMemory, Fault> {
        let reply = self.client.read_memory(Empty {});
        within(self.rank, "ask what is held", MEMORY_DEADLINE, reply).await
    }
}

async fn within<T>(
    rank: u32,
    tried: &str,
    limit: Duration,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(Fault::from(status).on_engine(rank)),
        Err(_) => Err(Fault::new(
            ErrorCode::Unavailable,
            format!("{tried} on engine {rank}: no answer in {limit:?}"),
        )
        .on_engine(rank)),
    }
}
