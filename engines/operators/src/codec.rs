//! The nodes of this crate as bytes in a plan.

use crate::collective_exec::CollectiveExec;
use crate::error::OperatorsError;
use crate::file_leaf::file_scan;
use crate::frame_codec::{self, FrameScanProto, PersistProto};
use crate::frame_scan_exec::FrameScanExec;
use crate::framed_scan_exec::{FramedScanExec, Framing};
use crate::persist_exec::PersistExec;
use crate::rank_zero_exec::RankZeroExec;
use crate::routing::Routing;
use crate::shared_rows_exec::{SharedRowsExec, SharedRowsProto};
use crate::sink_codec::{self, SinkProto};
use crate::sink_exec::SinkExec;
use bireme_collectives::OperationId;
use bireme_frames::{Placement, owners_from_bytes, owners_to_bytes};
use bireme_protocol::QueryId;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::Partitioning;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::from_proto::parse_protobuf_partitioning;
use datafusion_proto::physical_plan::to_proto::serialize_partitioning;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf;
use prost::Message;
use std::sync::Arc;

/// Encodes and decodes the nodes of this crate that travel to engines.
#[derive(Clone, Copy, Debug, Default)]
pub struct CollectiveCodec;

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(oneof = "Node", tags = "1, 2, 3, 4, 5, 6, 7")]
    node: Option<Node>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Node {
    #[prost(message, tag = "1")]
    Collective(CollectiveProto),
    #[prost(message, tag = "2")]
    RankZero(RankZeroProto),
    #[prost(message, tag = "3")]
    FramedScan(FramedScanProto),
    #[prost(message, boxed, tag = "4")]
    FrameScan(Box<FrameScanProto>),
    #[prost(message, tag = "5")]
    Persist(PersistProto),
    #[prost(message, tag = "6")]
    SharedRows(SharedRowsProto),
    #[prost(message, boxed, tag = "7")]
    Sink(Box<SinkProto>),
}

#[derive(Clone, PartialEq, Message)]
struct RankZeroProto {}

#[derive(Clone, PartialEq, Message)]
struct FramedScanProto {
    #[prost(string, tag = "1")]
    compression: String,
    #[prost(bool, tag = "2")]
    is_stream: bool,
}

#[derive(Clone, PartialEq, Message)]
struct CollectiveProto {
    #[prost(string, tag = "1")]
    query: String,
    #[prost(uint64, tag = "2")]
    plan: u64,
    #[prost(uint32, tag = "3")]
    index: u32,
    #[prost(uint32, tag = "4")]
    engines: u32,
    #[prost(enumeration = "RoutingProto", tag = "5")]
    routing: i32,
    #[prost(message, optional, tag = "6")]
    partitioning: Option<protobuf::Partitioning>,
    /// The rank of each bucket, where rows go by hash.
    #[prost(bytes = "vec", tag = "7")]
    owners: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum RoutingProto {
    Unspecified = 0,
    Shuffle = 1,
    Broadcast = 2,
    Gather = 3,
    Spread = 4,
}

pub(crate) fn failed(action: &'static str, what: &str, reason: impl ToString) -> DataFusionError {
    OperatorsError::Codec {
        action,
        what: what.to_string(),
        reason: reason.to_string(),
    }
    .into()
}

impl PhysicalExtensionCodec for CollectiveCodec {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let proto = NodeProto::decode(bytes).map_err(|error| failed("decode", "a node", error))?;
        let codec = Self;
        let decoding = PhysicalPlanDecodeContext::new(context, &codec);
        match &proto.node {
            Some(Node::FrameScan(proto)) => {
                return frame_codec::decode_scan(proto, &decoding, converter);
            }
            Some(Node::SharedRows(proto)) => return SharedRowsExec::from_proto(proto),
            _ => {}
        }
        let [input] = inputs else {
            let reason = format!("it has {} inputs, not one", inputs.len());
            return Err(failed("decode", "a node", reason));
        };
        match proto.node {
            Some(Node::RankZero(_)) => Ok(Arc::new(RankZeroExec::new(Arc::clone(input)))),
            Some(Node::Collective(proto)) => decode_collective(&proto, input, &decoding, converter),
            Some(Node::FramedScan(proto)) => {
                let scan = file_scan(input)
                    .ok_or_else(|| failed("decode", "a scan", "what it frames reads no files"))?;
                let framing = Framing {
                    compression: proto.compression,
                    is_stream: proto.is_stream,
                };
                framing.restore(scan)
            }
            Some(Node::Persist(proto)) => frame_codec::decode_persist(&proto, Arc::clone(input)),
            Some(Node::Sink(proto)) => sink_codec::decode_sink(&proto, Arc::clone(input)),
            Some(Node::FrameScan(_) | Node::SharedRows(_)) | None => {
                Err(failed("decode", "a node", "it is of no known kind"))
            }
        }
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let proto = if node.is::<RankZeroExec>() {
            Node::RankZero(RankZeroProto {})
        } else if let Some(framed) = node.downcast_ref::<FramedScanExec>() {
            let Framing {
                compression,
                is_stream,
            } = framed.framing().clone();
            Node::FramedScan(FramedScanProto {
                compression,
                is_stream,
            })
        } else if let Some(collective) = node.downcast_ref::<CollectiveExec>() {
            Node::Collective(encode_collective(collective, converter)?)
        } else if let Some(scan) = node.downcast_ref::<FrameScanExec>() {
            Node::FrameScan(Box::new(frame_codec::encode_scan(scan, converter)?))
        } else if let Some(persist) = node.downcast_ref::<PersistExec>() {
            Node::Persist(frame_codec::encode_persist(persist))
        } else if let Some(scan) = node.downcast_ref::<SharedRowsExec>() {
            Node::SharedRows(scan.to_proto())
        } else if let Some(sink) = node.downcast_ref::<SinkExec>() {
            Node::Sink(Box::new(sink_codec::encode_sink(sink)?))
        } else {
            return Err(failed("encode", node.name(), "it is no node of this codec"));
        };
        NodeProto { node: Some(proto) }
            .encode(bytes)
            .map_err(|error| failed("encode", node.name(), error))
    }
}

fn encode_collective(
    node: &CollectiveExec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<CollectiveProto> {
    let mut owners = Vec::new();
    let (routing, partitioning) = match node.routing() {
        Routing::Broadcast => (RoutingProto::Broadcast, None),
        Routing::Gather => (RoutingProto::Gather, None),
        Routing::Spread { partitions } => {
            let partitioning = Partitioning::RoundRobinBatch(*partitions);
            let proto = serialize_partitioning(&partitioning, &CollectiveCodec, converter)?;
            (RoutingProto::Spread, Some(proto))
        }
        Routing::Shuffle { keys, placement } => {
            owners = owners_to_bytes(placement.owners());
            let partitioning = Partitioning::Hash(keys.clone(), placement.partitions());
            let proto = serialize_partitioning(&partitioning, &CollectiveCodec, converter)?;
            (RoutingProto::Shuffle, Some(proto))
        }
    };
    let id = node.id();
    Ok(CollectiveProto {
        query: id.query.to_string(),
        plan: id.plan,
        index: id.index,
        engines: node.engines() as u32,
        routing: routing.into(),
        partitioning,
        owners,
    })
}

fn decode_collective(
    proto: &CollectiveProto,
    input: &Arc<dyn ExecutionPlan>,
    decoding: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wrong = |reason: &str| failed("decode", "a collective", reason);
    let query: QueryId = proto
        .query
        .parse()
        .map_err(|_| wrong("its query id is none"))?;
    let routing = match proto.routing() {
        RoutingProto::Unspecified => return Err(wrong("it has no routing")),
        RoutingProto::Broadcast => Routing::Broadcast,
        RoutingProto::Gather => Routing::Gather,
        RoutingProto::Shuffle | RoutingProto::Spread => {
            let schema = input.schema();
            let partitioning = proto.partitioning.as_ref();
            match parse_protobuf_partitioning(partitioning, decoding, &schema, converter)? {
                Some(Partitioning::Hash(keys, partitions)) => Routing::Shuffle {
                    keys,
                    placement: Placement::owned(owners_from_bytes(&proto.owners), partitions)?,
                },
                Some(Partitioning::RoundRobinBatch(partitions)) => Routing::Spread { partitions },
                _ => return Err(wrong("its partitioning is neither by hash nor in turn")),
            }
        }
    };
    let id = OperationId {
        query,
        plan: proto.plan,
        index: proto.index,
    };
    let engines = proto.engines as usize;
    Ok(Arc::new(CollectiveExec::new(
        id,
        routing,
        engines,
        Arc::clone(input),
    )))
}
