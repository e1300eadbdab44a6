//! What a session of DataFusion is told, from the settings and the memory of this engine.

use bireme_settings::Settings;
use datafusion::config::SpillCompression;
use datafusion::prelude::SessionConfig;

/// What each sort keeps aside from its first row on, to merge what it spills: DataFusion's own
/// choice, but together no more than one part of so many of the engine's memory.
const SORT_RESERVES_MAX: usize = 10 << 20;
const SORT_RESERVES_PART: usize = 16;
/// A row group that is written takes no more than one part of so many of the engine's memory, by
/// guess: rows of so many bytes. Readers lose by groups of fewer rows than the least.
const ROW_GROUP_PART: usize = 32;
const ROW_BYTES: usize = 256;
const ROW_GROUP_ROWS_MIN: usize = 8192;
/// A batch takes no more than one part of so many of a partition's memory, by the same guess: operators hold a few of
/// each file that they merge, and of each partition that they send rows to.
const BATCH_PART: usize = 64;
const BATCH_ROWS_MIN: usize = 1024;

/// The configuration of a query's session.
pub(crate) fn session_config(
    settings: &Settings,
    partitions: usize,
    host_limit: usize,
) -> SessionConfig {
    let of_each_sort = host_limit / partitions.max(1) / SORT_RESERVES_PART;
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("bireme", "public")
        .with_target_partitions(partitions)
        .with_sort_spill_reservation_bytes(of_each_sort.min(SORT_RESERVES_MAX));
    let options = config.options_mut();
    // Names are spelled as the user wrote them; `names` matches them without regard to case.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.execution.parquet.pushdown_filters = settings.boolean("query.pushdown_filters");
    // A writer holds a row group until it is whole.
    let row_group_rows = host_limit / ROW_GROUP_PART / ROW_BYTES;
    options.execution.parquet.max_row_group_size = options
        .execution
        .parquet
        .max_row_group_size
        .min(row_group_rows.max(ROW_GROUP_ROWS_MIN));
    let batch_rows = host_limit / partitions.max(1) / BATCH_PART / ROW_BYTES;
    let batch_rows = batch_rows.clamp(BATCH_ROWS_MIN, config.batch_size());
    // Batches that a sort puts together hold all their texts in each batch that comes of them. DataFusion counts
    // them as often, which may be refused when nothing can spill: as few batches are put together as of others.
    let options = config.options_mut();
    let in_place = &mut options.execution.sort_in_place_threshold_bytes;
    *in_place = *in_place / options.execution.batch_size.get() * batch_rows;
    config = config.with_batch_size(batch_rows);
    let options = config.options_mut();
    options.execution.spill_compression = match settings.get("memory.spill_compression") {
        "none" => SpillCompression::Uncompressed,
        _ => SpillCompression::Lz4Frame,
    };
    config
}
