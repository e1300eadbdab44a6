//! Rows of one query, or of one partition of a frame, fetched by Arrow Flight from an engine.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, Ticket};
use bireme_protocol::proto::ResultSummary;
use bireme_protocol::{Address, ErrorCode, Fault, QueryId};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A record batch may be large: long strings, nested columns.
const BATCH_BYTES_MAX: usize = 1 << 30;
/// How long the head engine may take to begin its answer: it has planned the query already.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// One step of a result.
pub(crate) enum Piece {
    Schema(SchemaRef),
    Batch(RecordBatch),
    Summary(Box<ResultSummary>),
}

type SummarySlot = Arc<Mutex<Option<ResultSummary>>>;

pub(crate) struct ResultStream {
    /// Behind a lock nobody waits for: it makes the stream shareable, which boxed streams are not.
    decoder: Mutex<FlightDataDecoder>,
    /// Filled by the last message, which holds no rows and is kept from the decoder.
    summary: SummarySlot,
}

impl ResultStream {
    /// Asks the head engine for a query's rows.
    pub(crate) async fn fetch(address: &str, id: QueryId) -> Result<Self, Fault> {
        Self::fetch_ticket(address, id.to_string()).await
    }

    /// Asks an engine for what a ticket names.
    pub(crate) async fn fetch_ticket(address: &str, ticket: String) -> Result<Self, Fault> {
        let address = address.parse::<Address>()?.data_plane();
        let mut engine = FlightServiceClient::new(address.connect().await?)
            .max_decoding_message_size(BATCH_BYTES_MAX);
        let ticket = Ticket::new(ticket);
        let messages = match tokio::time::timeout(FETCH_TIMEOUT, engine.do_get(ticket)).await {
            Ok(answer) => answer?.into_inner(),
            Err(_) => {
                return Err(Fault::new(
                    ErrorCode::Unavailable,
                    format!("fetch rows from {address}: no answer in {FETCH_TIMEOUT:?}"),
                ));
            }
        };
        let summary = SummarySlot::default();
        let slot = Arc::clone(&summary);
        let rows = messages
            .map_err(|status| FlightError::Tonic(Box::new(status)))
            .try_filter_map(move |message| {
                let kept = keep_rows(message, &slot);
                futures::future::ready(kept)
            })
            .boxed();
        Ok(Self {
            decoder: Mutex::new(FlightDataDecoder::new(rows)),
            summary,
        })
    }

    pub(crate) async fn next(&mut self) -> Result<Piece, Fault> {
        if let Some(piece) = self.next_rows().await? {
            return Ok(piece);
        }
        let summary = take(&self.summary);
        summary.map(|s| Piece::Summary(Box::new(s))).ok_or_else(|| {
            Fault::new(
                ErrorCode::Unavailable,
                "read a result: the stream ended before its summary",
            )
        })
    }

    /// Columns or rows; `None` after the last.
    pub(crate) async fn next_rows(&mut self) -> Result<Option<Piece>, Fault> {
        loop {
            let decoder = self
                .decoder
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            match decoder.next().await {
                Some(Ok(decoded)) => match decoded.payload {
                    DecodedPayload::Schema(schema) => return Ok(Some(Piece::Schema(schema))),
                    DecodedPayload::RecordBatch(batch) => return Ok(Some(Piece::Batch(batch))),
                    DecodedPayload::None => {}
                },
                Some(Err(FlightError::Tonic(status))) => return Err((*status).into()),
                Some(Err(error)) => {
                    return Err(Fault::internal("decode a result").with_sources(&error));
                }
                None => return Ok(None),
            }
        }
    }
}

fn take(slot: &SummarySlot) -> Option<ResultSummary> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn keep_rows(message: FlightData, slot: &SummarySlot) -> Result<Option<FlightData>, FlightError> {
    if !message.data_header.is_empty() {
        return Ok(Some(message));
    }
    let summary = ResultSummary::decode(message.app_metadata)
        .map_err(|error| FlightError::DecodeError(format!("result summary: {error}")))?;
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(summary);
    Ok(None)
}
