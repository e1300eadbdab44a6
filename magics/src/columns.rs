//! The columns of a catalog entry, from the schema it travels with.

use crate::display::table::short_type;

/// The columns of a catalog entry with their types.
pub(crate) fn columns(schema_json: &str) -> Vec<(String, String)> {
    let schema = serde_json::from_str::<arrow_schema::Schema>(schema_json).ok();
    let fields = schema.iter().flat_map(|schema| schema.fields().iter());
    fields
        .map(|field| (field.name().clone(), short_type(field.data_type())))
        .collect()
}

/// How many columns there are.
pub(crate) fn column_count(schema_json: &str) -> u64 {
    serde_json::from_str::<arrow_schema::Schema>(schema_json)
        .map_or(0, |schema| schema.fields().len() as u64)
}
