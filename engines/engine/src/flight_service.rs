//! Rows of results and of frames, by Arrow Flight: `DoGet` with a query id or the name of a
//! partition, and nothing else.
//!
//! The protocol is <https://arrow.apache.org/docs/format/Flight.html>. The last message of a result
//! holds no rows but a `ResultSummary`.

use crate::engine::Engine;
use crate::fill_ticket::FillTicket;
use crate::head_query::HeadQuery;
use crate::remote_frames::read_ticket;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use async_trait::async_trait;
use bireme_frames::{FramesError, PartitionReader};
use bireme_operators::RemotePart;
use bireme_protocol::{ErrorCode, Fault, QueryId};
use datafusion::arrow::array::RecordBatch;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

/// Batches between the query and the socket.
const BATCHES_AHEAD: usize = 2;

/// The data plane's service.
pub(crate) struct Rows {
    engine: Arc<Engine>,
}

impl Rows {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }
}

type Answer<T> = Result<Response<BoxStream<'static, Result<T, Status>>>, Status>;

#[async_trait]
impl FlightService for Rows {
    type DoGetStream = BoxStream<'static, Result<FlightData, Status>>;
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoExchangeStream = BoxStream<'static, Result<FlightData, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    async fn do_get(&self, request: Request<Ticket>) -> Answer<FlightData> {
        let ticket = request.into_inner().ticket;
        let ticket = std::str::from_utf8(&ticket).unwrap_or_default();
        if let Some(part) = read_ticket(ticket) {
            return Ok(Response::new(partition_of(&self.engine, &part)?));
        }
        if let Some(filling) = FillTicket::read(ticket) {
            return Ok(Response::new(filling.fill(&self.engine)?));
        }
        let id: QueryId = ticket.parse().map_err(|_| {
            Fault::new(
                ErrorCode::InvalidArgument,
                "fetch rows: the ticket names neither a query nor a partition",
            )
        })?;
        let query = self.engine.queries().fetch(id)?;
        Ok(Response::new(rows_of(*query)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Answer<HandshakeResponse> {
        Err(not_served("Handshake"))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answer<FlightInfo> {
        Err(not_served("ListFlights"))
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        Err(not_served("GetFlightInfo"))
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(not_served("PollFlightInfo"))
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        Err(not_served("GetSchema"))
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answer<PutResult> {
        Err(not_served("DoPut"))
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answer<FlightData> {
        Err(not_served("DoExchange"))
    }

    async fn do_action(&self, _: Request<Action>) -> Answer<arrow_flight::Result> {
        Err(not_served("DoAction"))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answer<ActionType> {
        Err(not_served("ListActions"))
    }
}

fn not_served(call: &str) -> Status {
    Status::unimplemented(format!("{call}: engines serve DoGet of queries only"))
}

/// A partition of a frame as a stream of messages.
fn partition_of(
    engine: &Engine,
    part: &RemotePart,
) -> Result<BoxStream<'static, Result<FlightData, Status>>, Fault> {
    let failed = |error: FramesError| Fault::new(ErrorCode::NotFound, error.to_string());
    let columns = part.columns.as_deref();
    let reader = engine.frames().read(part.segment, part.partition, columns);
    let reader = reader.map_err(|error| failed(error).on_engine(engine.rank()))?;
    let schema = Arc::clone(reader.schema());
    let batches = batches_of(reader).map_err(external);
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // Without this a dictionary arrives as plain values, and is no column of the frame any more.
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(batches)
        .map_err(|error| Status::internal(format!("encode rows of a frame: {error}")));
    Ok(messages.boxed())
}

/// The batches of a partition, from memory or disk.
pub(crate) fn batches_of(
    reader: PartitionReader,
) -> impl Stream<Item = Result<RecordBatch, FramesError>> {
    let reader = Arc::new(reader);
    futures::stream::iter(0..reader.len()).then(move |index| {
        let reader = Arc::clone(&reader);
        async move {
            if let Some(batch) = reader.resident(index)? {
                return Ok(batch);
            }
            let restored = tokio::task::spawn_blocking(move || reader.restore(index)).await;
            restored.map_err(FramesError::ended)?
        }
    })
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> FlightError {
    FlightError::ExternalError(Box::new(error))
}

/// Runs a query as a stream of messages. Dropping the stream ends the query.
fn rows_of(query: HeadQuery) -> BoxStream<'static, Result<FlightData, Status>> {
    let (batch_tx, batch_rx) = mpsc::channel(BATCHES_AHEAD);
    let (outcome_tx, outcome_rx) = oneshot::channel();
    let schema = query.schema();
    #[expect(
        clippy::disallowed_methods,
        reason = "the stream owns the task: dropping it aborts the query"
    )]
    let running = AbortOnDropHandle::new(tokio::spawn(async move {
        let outcome = query.run(batch_tx).await;
        // A client that is gone needs no answer.
        let _ = outcome_tx.send(outcome);
    }));
    let rows = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(ReceiverStream::new(batch_rx).map(Ok))
        .map_err(|error| Status::internal(format!("encode rows: {error}")));
    // It comes after the rows, and beside their channel, which may be full.
    let outcome = futures::stream::once(outcome_rx).filter_map(|outcome| async move {
        Some(match outcome.ok()? {
            Ok(summary) => Ok(FlightData::new().with_app_metadata(summary.encode_to_vec())),
            Err(fault) => Err(Status::from(fault)),
        })
    });
    rows.chain(outcome)
        .map(move |message| {
            // Moves the task into the stream: both end together.
            let _ = &running;
            message
        })
        .boxed()
}
