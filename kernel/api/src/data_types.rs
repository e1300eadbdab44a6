//! Types of columns as words and text, for [`crate::transfer`]. Types without fields are written as
//! Arrow writes them; of the others Arrow does not read every name back.

use crate::layout::{Head, Source};
use crate::transfer::{TransferError, malformed};
use arrow_schema::{DataType, Field, FieldRef, UnionFields, UnionMode};
use std::sync::Arc;

const PLAIN: u64 = 0;
const LIST: u64 = 1;
const LARGE_LIST: u64 = 2;
const LIST_VIEW: u64 = 3;
const LARGE_LIST_VIEW: u64 = 4;
const FIXED_SIZE_LIST: u64 = 5;
const STRUCT: u64 = 6;
const MAP: u64 = 7;
const DICTIONARY: u64 = 8;
const RUN_END_ENCODED: u64 = 9;
const UNION: u64 = 10;
/// Types within types.
pub(crate) const DEPTH_MAX: usize = 64;

/// Writes a column, or a field of one.
pub(crate) fn write_field(head: &mut Head, field: &Field) {
    head.text(field.name());
    head.word(u64::from(field.is_nullable()));
    write_type(head, field.data_type());
}

fn write_type(head: &mut Head, data_type: &DataType) {
    let mut write = |kind: u64, number: u64, fields: &[&Field]| {
        head.word(kind);
        head.word(number);
        fields.iter().for_each(|field| write_field(head, field));
    };
    match data_type {
        DataType::List(item) => write(LIST, 0, &[item]),
        DataType::LargeList(item) => write(LARGE_LIST, 0, &[item]),
        DataType::ListView(item) => write(LIST_VIEW, 0, &[item]),
        DataType::LargeListView(item) => write(LARGE_LIST_VIEW, 0, &[item]),
        DataType::FixedSizeList(item, size) => write(FIXED_SIZE_LIST, *size as u64, &[item]),
        DataType::Map(entries, is_sorted) => write(MAP, u64::from(*is_sorted), &[entries]),
        DataType::RunEndEncoded(ends, values) => write(RUN_END_ENCODED, 0, &[ends, values]),
        DataType::Struct(fields) => {
            let all: Vec<&Field> = fields.iter().map(AsRef::as_ref).collect();
            write(STRUCT, all.len() as u64, &all);
        }
        DataType::Dictionary(keys, values) => {
            head.word(DICTIONARY);
            write_type(head, keys);
            write_type(head, values);
        }
        DataType::Union(fields, mode) => {
            head.word(UNION);
            head.word(u64::from(*mode == UnionMode::Dense));
            head.word(fields.len() as u64);
            for (id, field) in fields.iter() {
                head.word(id as u64);
                write_field(head, field);
            }
        }
        plain => {
            head.word(PLAIN);
            head.text(&plain.to_string());
        }
    }
}

/// Reads what [`write_field`] wrote.
pub(crate) fn read_field(source: &mut Source<'_>, depth: usize) -> Result<Field, TransferError> {
    let name = source.text()?;
    let is_nullable = source.word()? != 0;
    let data_type = read_type(source, depth)?;
    Ok(Field::new(name, data_type, is_nullable))
}

fn read_type(source: &mut Source<'_>, depth: usize) -> Result<DataType, TransferError> {
    if depth > DEPTH_MAX {
        return Err(malformed("its types are nested too deep"));
    }
    let kind = source.word()?;
    match kind {
        PLAIN => return Ok(source.text()?.parse()?),
        DICTIONARY => {
            let keys = read_type(source, depth + 1)?;
            let values = read_type(source, depth + 1)?;
            return Ok(DataType::Dictionary(Box::new(keys), Box::new(values)));
        }
        UNION => return read_union(source, depth),
        _ => {}
    }
    let number = source.word()?;
    let mut field = || read_field(source, depth + 1).map(Arc::new);
    Ok(match kind {
        LIST => DataType::List(field()?),
        LARGE_LIST => DataType::LargeList(field()?),
        LIST_VIEW => DataType::ListView(field()?),
        LARGE_LIST_VIEW => DataType::LargeListView(field()?),
        FIXED_SIZE_LIST => DataType::FixedSizeList(field()?, number as i32),
        MAP => DataType::Map(field()?, number != 0),
        RUN_END_ENCODED => DataType::RunEndEncoded(field()?, field()?),
        STRUCT => {
            let fields: Result<Vec<FieldRef>, _> = (0..number).map(|_| field()).collect();
            DataType::Struct(fields?.into())
        }
        _ => return Err(malformed("a type is not known")),
    })
}

fn read_union(source: &mut Source<'_>, depth: usize) -> Result<DataType, TransferError> {
    let mode = match source.word()? {
        0 => UnionMode::Sparse,
        _ => UnionMode::Dense,
    };
    let count = source.word()?;
    let mut fields = Vec::new();
    for _ in 0..count {
        let id = source.word()? as i8;
        fields.push((id, Arc::new(read_field(source, depth + 1)?)));
    }
    Ok(DataType::Union(UnionFields::from_iter(fields), mode))
}
