//! One value of an Arrow array as text, without the help of `arrow-cast`, which cells do not link.

use crate::preview::{Value, one_line};
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, ArrowTemporalType, Date32Type, Date64Type, Decimal32Type, Decimal64Type,
    Decimal128Type, Decimal256Type, DecimalType, Float16Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType,
    Time64MicrosecondType, Time64NanosecondType, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, OffsetSizeTrait, PrimitiveArray, StructArray};
use arrow_schema::{DataType, TimeUnit};
use std::fmt::Display;

/// Items of a list and fields of a struct that are written out.
const SHOWN_ITEMS: usize = 5;
/// Bytes of a binary value that are written out.
const SHOWN_BYTES: usize = 1024;

/// Every value of a column as it is shown.
pub(crate) fn values(array: &dyn Array) -> Vec<Value> {
    let texts = texts(array).into_iter().enumerate();
    let value = texts.map(|(row, text)| match text {
        Some(text) => shown(array, row, text),
        None => Value::dim("null"),
    });
    value.collect()
}

fn shown(array: &dyn Array, row: usize, text: String) -> Value {
    match array.data_type() {
        DataType::Float32 => {
            let number = array.as_primitive::<Float32Type>().value(row);
            rounded(f64::from(number), text)
        }
        DataType::Float64 => rounded(array.as_primitive::<Float64Type>().value(row), text),
        kind if is_text(kind) => Value::new(quoted(&text)),
        _ => Value::new(one_line(&text)),
    }
}

/// A float with what the eye needs.
fn rounded(number: f64, exact: String) -> Value {
    let size = number.abs();
    let text = if !number.is_finite() {
        return Value::new(exact.to_lowercase());
    } else if size >= 1e15 || (size > 0.0 && size < 1e-4) {
        format!("{number:.6e}")
    } else {
        let fixed = format!("{number:.6}");
        let trimmed = fixed.trim_end_matches('0');
        match trimmed.ends_with('.') {
            true => format!("{trimmed}0"),
            false => trimmed.to_string(),
        }
    };
    let is_rounded = text.parse::<f64>() != exact.parse();
    Value {
        exact: is_rounded.then_some(exact),
        ..Value::new(text)
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// Text in quotes where it would be taken for something else.
fn quoted(text: &str) -> String {
    let line = one_line(text);
    let is_misleading = line == "null" || line.is_empty() || line.trim() != line;
    match is_misleading {
        true => format!("\"{line}\""),
        false => line,
    }
}

/// Every value of an array as text; none for a missing one.
pub(crate) fn texts(array: &dyn Array) -> Vec<Option<String>> {
    let nulls = array.logical_nulls();
    let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let text = |row| (!is_null(row)).then(|| text(array, row));
    (0..array.len()).map(text).collect()
}

/// One value that is not missing.
fn text(array: &dyn Array, row: usize) -> String {
    number(array, row)
        .or_else(|| temporal(array, row))
        .or_else(|| bytes(array, row))
        .unwrap_or_else(|| nested(array, row))
}

fn primitive<T: ArrowPrimitiveType<Native: Display>>(array: &dyn Array, row: usize) -> String {
    array.as_primitive::<T>().value(row).to_string()
}

/// A float as Rust writes it, with digits enough to read it back, `1.0` for a whole one.
fn float<T: ArrowPrimitiveType<Native: Into<f64> + std::fmt::Debug>>(
    array: &dyn Array,
    row: usize,
) -> String {
    format!("{:?}", array.as_primitive::<T>().value(row))
}

fn decimal<T: DecimalType>(array: &dyn Array, row: usize) -> String {
    array.as_primitive::<T>().value_as_string(row)
}

fn number(array: &dyn Array, row: usize) -> Option<String> {
    Some(match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int8 => primitive::<Int8Type>(array, row),
        DataType::Int16 => primitive::<Int16Type>(array, row),
        DataType::Int32 => primitive::<Int32Type>(array, row),
        DataType::Int64 => primitive::<Int64Type>(array, row),
        DataType::UInt8 => primitive::<UInt8Type>(array, row),
        DataType::UInt16 => primitive::<UInt16Type>(array, row),
        DataType::UInt32 => primitive::<UInt32Type>(array, row),
        DataType::UInt64 => primitive::<UInt64Type>(array, row),
        DataType::Float16 => primitive::<Float16Type>(array, row),
        DataType::Float32 => float::<Float32Type>(array, row),
        DataType::Float64 => float::<Float64Type>(array, row),
        DataType::Decimal32(..) => decimal::<Decimal32Type>(array, row),
        DataType::Decimal64(..) => decimal::<Decimal64Type>(array, row),
        DataType::Decimal128(..) => decimal::<Decimal128Type>(array, row),
        DataType::Decimal256(..) => decimal::<Decimal256Type>(array, row),
        _ => return None,
    })
}

fn date<T: ArrowTemporalType>(array: &dyn Array, row: usize) -> String
where
    i64: From<T::Native>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    let date = array.value_as_date(row);
    date.map_or_else(|| out_of_range(array, row), |date| date.to_string())
}

fn time<T: ArrowTemporalType>(array: &dyn Array, row: usize) -> String
where
    i64: From<T::Native>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    let time = array.value_as_time(row);
    time.map_or_else(|| out_of_range(array, row), |time| time.to_string())
}

fn timestamp<T: ArrowTemporalType>(array: &dyn Array, row: usize, zone: Option<&str>) -> String
where
    i64: From<T::Native>,
{
    let array: &PrimitiveArray<T> = array.as_primitive();
    let Some(instant) = array.value_as_datetime(row) else {
        return out_of_range(array, row);
    };
    // Values with a zone are instants; without a table of zones they are told in UTC.
    let suffix = if zone.is_some() { "+00:00" } else { "" };
    format!("{instant}{suffix}")
}

fn out_of_range<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> String {
    format!("{:?} (out of range)", array.value(row))
}

fn temporal(array: &dyn Array, row: usize) -> Option<String> {
    Some(match array.data_type() {
        DataType::Date32 => date::<Date32Type>(array, row),
        DataType::Date64 => date::<Date64Type>(array, row),
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, row),
        DataType::Time32(_) => time::<Time32MillisecondType>(array, row),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, row),
        DataType::Time64(_) => time::<Time64NanosecondType>(array, row),
        DataType::Timestamp(unit, zone) => {
            let zone = zone.as_deref();
            match unit {
                TimeUnit::Second => timestamp::<TimestampSecondType>(array, row, zone),
                TimeUnit::Millisecond => timestamp::<TimestampMillisecondType>(array, row, zone),
                TimeUnit::Microsecond => timestamp::<TimestampMicrosecondType>(array, row, zone),
                TimeUnit::Nanosecond => timestamp::<TimestampNanosecondType>(array, row, zone),
            }
        }
        _ => return None,
    })
}

fn bytes(array: &dyn Array, row: usize) -> Option<String> {
    Some(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).to_string(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_string(),
        DataType::Utf8View => array.as_string_view().value(row).to_string(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => hex(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)),
        _ => return None,
    })
}

fn hex(bytes: &[u8]) -> String {
    let shown = bytes.iter().take(SHOWN_BYTES);
    let digits: String = shown.map(|byte| format!("{byte:02x}")).collect();
    let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
    format!("{digits}{more}")
}

fn nested(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied();
            key.map_or_else(String::new, |key| text(dictionary.values().as_ref(), key))
        }
        DataType::List(_) => list::<i32>(array, row),
        DataType::LargeList(_) => list::<i64>(array, row),
        DataType::FixedSizeList(..) => items(array.as_fixed_size_list().value(row).as_ref()),
        DataType::Struct(_) => fields(array.as_struct(), row),
        // Rare types are told by their debug text, which has every value of the slice of one.
        _ => format!("{:?}", array.slice(row, 1)),
    }
}

fn list<O: OffsetSizeTrait>(array: &dyn Array, row: usize) -> String {
    items(array.as_list::<O>().value(row).as_ref())
}

fn items(values: &dyn Array) -> String {
    let shown = values.slice(0, values.len().min(SHOWN_ITEMS));
    let mut items: Vec<String> = texts(shown.as_ref()).into_iter().map(or_null).collect();
    if values.len() > SHOWN_ITEMS {
        items.push("…".to_string());
    }
    format!("[{}]", items.join(", "))
}

fn fields(array: &StructArray, row: usize) -> String {
    let columns = array.fields().iter().zip(array.columns());
    let shown = columns.take(SHOWN_ITEMS).map(|(field, column)| {
        let value = texts(column.slice(row, 1).as_ref());
        let value = value.into_iter().next().flatten();
        format!("{}: {}", field.name(), or_null(value))
    });
    let mut shown: Vec<String> = shown.collect();
    if array.num_columns() > SHOWN_ITEMS {
        shown.push("…".to_string());
    }
    format!("{{{}}}", shown.join(", "))
}

fn or_null(value: Option<String>) -> String {
    value.unwrap_or_else(|| "null".to_string())
}
