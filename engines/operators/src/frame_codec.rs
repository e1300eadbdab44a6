//! Frames in the bytes of a plan.

use crate::codec::{CollectiveCodec, failed};
use crate::frame_scan_exec::{FrameScanExec, Scope};
use crate::persist_exec::PersistExec;
use crate::resident_frame::ResidentFrame;
use bireme_frames::{Placement, owners_from_bytes, owners_to_bytes};
use bireme_protocol::proto::Frame;
use datafusion::arrow::datatypes::Schema;
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalPlanDecodeContext, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf;
use prost::Message;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FrameScanProto {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    schema: Option<protobuf::Schema>,
    #[prost(message, optional, tag = "3")]
    frame: Option<Frame>,
    #[prost(bool, tag = "4")]
    all_columns: bool,
    #[prost(uint64, repeated, tag = "5")]
    columns: Vec<u64>,
    #[prost(bool, tag = "6")]
    all_engines: bool,
    /// Where the session's shuffles put rows, and their partitions per engine.
    #[prost(bytes = "vec", tag = "7")]
    owners: Vec<u8>,
    #[prost(uint32, tag = "8")]
    partitions: u32,
    #[prost(message, optional, tag = "9")]
    condition: Option<protobuf::PhysicalExprNode>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PersistProto {
    #[prost(string, tag = "1")]
    segment: String,
}

pub(crate) fn encode_scan(
    scan: &FrameScanExec,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<FrameScanProto> {
    let frame = scan.frame();
    let condition = scan
        .condition()
        .map(|condition| converter.physical_expr_to_proto(condition, &CollectiveCodec));
    let schema: protobuf::Schema = frame
        .schema()
        .as_ref()
        .try_into()
        .map_err(|error| failed("encode", "a frame's columns", error))?;
    Ok(FrameScanProto {
        name: frame.name().to_string(),
        schema: Some(schema),
        frame: Some(frame.to_proto()),
        all_columns: scan.projection().is_none(),
        columns: scan
            .projection()
            .unwrap_or_default()
            .iter()
            .map(|column| *column as u64)
            .collect(),
        all_engines: scan.scope() == Scope::AllEngines,
        owners: owners_to_bytes(frame.session_placement().owners()),
        partitions: frame.session_placement().partitions() as u32,
        condition: condition.transpose()?,
    })
}

pub(crate) fn decode_scan(
    proto: &FrameScanProto,
    decoding: &PhysicalPlanDecodeContext<'_>,
    converter: &dyn PhysicalProtoConverterExtension,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wrong = |reason: &str| failed("decode", "a scan of a frame", reason);
    let schema = proto
        .schema
        .as_ref()
        .ok_or_else(|| wrong("it has no columns"))?;
    let schema = Schema::try_from(schema).map_err(|error| wrong(&error.to_string()))?;
    let frame = proto
        .frame
        .as_ref()
        .ok_or_else(|| wrong("it has no frame"))?;
    let owners = owners_from_bytes(&proto.owners);
    let placement = Placement::owned(owners, proto.partitions as usize)?;
    let frame = ResidentFrame::new(&proto.name, Arc::new(schema), frame, &placement)?;
    let columns = proto
        .columns
        .iter()
        .map(|column| *column as usize)
        .collect();
    let projection = (!proto.all_columns).then_some(columns);
    let scope = match proto.all_engines {
        true => Scope::AllEngines,
        false => Scope::OwnEngine,
    };
    let scan = FrameScanExec::new(Arc::new(frame), projection, scope)?;
    let Some(condition) = &proto.condition else {
        return Ok(Arc::new(scan));
    };
    let condition = converter.proto_to_physical_expr(condition, &scan.schema(), decoding)?;
    Ok(Arc::new(scan.filtered([condition])))
}

pub(crate) fn encode_persist(persist: &PersistExec) -> PersistProto {
    PersistProto {
        segment: persist.segment().to_string(),
    }
}

pub(crate) fn decode_persist(
    proto: &PersistProto,
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let segment = proto.segment.parse();
    let segment = segment.map_err(|error| failed("decode", "a persist node", error))?;
    Ok(Arc::new(PersistExec::new(segment, input)))
}
