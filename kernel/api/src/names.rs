//! Short names of Arrow types, as Polars has them.

use arrow_schema::{DataType, Schema, TimeUnit};

/// The columns of a schema in one line.
pub(crate) fn columns(schema: &Schema) -> String {
    let fields = schema.fields().iter();
    let columns = fields.map(|field| format!("{} {}", field.name(), short(field.data_type())));
    columns.collect::<Vec<_>>().join(", ")
}

/// The short name of a type.
pub(crate) fn short(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".into(),
        DataType::Int8 => "i8".into(),
        DataType::Int16 => "i16".into(),
        DataType::Int32 => "i32".into(),
        DataType::Int64 => "i64".into(),
        DataType::UInt8 => "u8".into(),
        DataType::UInt16 => "u16".into(),
        DataType::UInt32 => "u32".into(),
        DataType::UInt64 => "u64".into(),
        DataType::Float16 => "f16".into(),
        DataType::Float32 => "f32".into(),
        DataType::Float64 => "f64".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "str".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bin".into(),
        DataType::FixedSizeBinary(size) => format!("bin({size})"),
        DataType::Date32 | DataType::Date64 => "date".into(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time[{}]", short_unit(unit)),
        DataType::Timestamp(unit, None) => format!("ts[{}]", short_unit(unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("ts[{}, {zone}]", short_unit(unit)),
        DataType::Duration(unit) => format!("dur[{}]", short_unit(unit)),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("dec({precision},{scale})"),
        DataType::Dictionary(_, values) => format!("dict[{}]", short(values)),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field) => format!("list[{}]", short(field.data_type())),
        DataType::FixedSizeList(field, size) => {
            format!("list[{}; {size}]", short(field.data_type()))
        }
        DataType::Struct(fields) => format!("struct[{}]", fields.len()),
        DataType::Null => "null".into(),
        DataType::Interval(_) => "interval".into(),
        DataType::Union(fields, _) => format!("union[{}]", fields.len()),
        DataType::Map(..) => "map".into(),
        DataType::RunEndEncoded(_, values) => format!("runs[{}]", short(values.data_type())),
    }
}

fn short_unit(unit: &TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}

/// Whether values of a type stand at the right of their column.
pub(crate) fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() && !matches!(data_type, DataType::Dictionary(..))
}
