//! Files as tables: `FROM 'data/*.parquet'` and what `CREATE EXTERNAL TABLE` reads.

use bireme_protocol::{ErrorCode, Fault};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableOptions;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use glob::MatchOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use url::Url;

/// Endings that name a format, longest first where one ends another.
const FORMATS: &[(&str, Format)] = &[
    (".parquet", Format::Parquet),
    (".pq", Format::Parquet),
    (".csv", Format::Csv),
    (".tsv", Format::Tsv),
    (".jsonl", Format::Json),
    (".ndjson", Format::Json),
    (".json", Format::Json),
    (".arrows", Format::Arrow),
    (".arrow", Format::Arrow),
    (".feather", Format::Arrow),
    (".ipc", Format::Arrow),
];

const COMPRESSIONS: &[(&str, FileCompressionType)] = &[
    (".gz", FileCompressionType::GZIP),
    (".bz2", FileCompressionType::BZIP2),
    (".xz", FileCompressionType::XZ),
    (".zst", FileCompressionType::ZSTD),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Parquet,
    Csv,
    Tsv,
    Json,
    Arrow,
}

/// What an ending says of a file.
struct Ending {
    format: Format,
    compression: FileCompressionType,
    /// As the listing matches it, e.g. `.csv.gz`.
    extension: String,
}

/// Whether a table's name can only be a path.
pub(crate) fn is_path(name: &str) -> bool {
    name.contains(['/', '*', '?']) || ending(name).is_some()
}

/// A path of a statement as an absolute one; URLs stay as they are.
pub(crate) fn absolute(path: &str, directory: &str) -> String {
    if path.contains("://") || Path::new(path).is_absolute() {
        return path.to_string();
    }
    match (path.strip_prefix("~/"), dirs_home()) {
        (Some(rest), Some(home)) => format!("{home}/{rest}"),
        _ => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}

/// Refuses a URL of anything but a file. What its user part or its query may keep secret is not told.
///
/// # Errors
/// It is one.
pub(crate) fn check_local(location: &str) -> Result<(), Fault> {
    let Some((scheme, rest)) = location.split_once("://") else {
        return Ok(());
    };
    if scheme.eq_ignore_ascii_case("file") {
        return Ok(());
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    let text = format!(
        "open {scheme}://{host}{path}: engines read and write files of their own hosts, and no store \
         for {scheme} is known here"
    );
    let hint = "copy it to a disk that every engine sees, or mount it there";
    Err(Fault::new(ErrorCode::InvalidArgument, text).with_hint(hint))
}

fn dirs_home() -> Option<String> {
    bireme_settings::environment("HOME")
}

/// Says which compression a file name ends with, as the option of a CSV or JSON table names it.
pub(crate) fn compression_option(path: &str) -> Option<&'static str> {
    let lower = path.to_lowercase();
    match COMPRESSIONS.iter().find(|(end, _)| lower.ends_with(end))?.0 {
        ".gz" => Some("gzip"),
        ".bz2" => Some("bzip2"),
        ".xz" => Some("xz"),
        _ => Some("zstd"),
    }
}

/// Opens a path or glob as a table.
///
/// # Errors
/// Nothing matches, the format is unknown, or the first file cannot be read.
pub(crate) async fn open(
    path: &str,
    directory: &str,
    state: &dyn Session,
) -> Result<Arc<dyn TableProvider>, DataFusionError> {
    let location = absolute(path, directory);
    check_local(&location).map_err(external)?;
    let location = match Path::new(&location).is_dir() && !location.ends_with('/') {
        true => format!("{location}/"),
        false => location,
    };
    let first = first_match(&location).map_err(external)?;
    let ending = ending(&first).ok_or_else(|| external(unknown_format(path, &first)))?;
    let places = places(&location, &ending.extension)?;
    let options = ListingOptions::new(format(&ending, state.default_table_options()))
        .with_file_extension(&ending.extension);
    let schema = columns(&options, &places, state)
        .await
        .map_err(|error| error.context(format!("read the columns of '{path}'")))?;
    let config = ListingTableConfig::new_with_multi_paths(places)
        .with_listing_options(options)
        .with_schema(schema);
    let cache = state.runtime_env().cache_manager.get_file_statistic_cache();
    Ok(Arc::new(ListingTable::try_new(config)?.with_cache(cache)))
}

/// Where DataFusion is to look: in one place, but at each file where directories have wildcards other
/// than `**`, which it does not match.
fn places(location: &str, extension: &str) -> Result<Vec<ListingTableUrl>, DataFusionError> {
    let (directories, _) = location.rsplit_once('/').unwrap_or_default();
    let is_wild = |part: &str| part != "**" && part.contains(['*', '?', '[']);
    let is_one = location.contains("://") || Path::new(location).exists();
    if is_one || !directories.split('/').any(is_wild) {
        return Ok(vec![ListingTableUrl::parse(location)?]);
    }
    let files = matches(location).map_err(external)?;
    let files = files.filter(|file| file.is_file());
    let of_format = files.filter(|file| file.to_string_lossy().ends_with(extension));
    let unmatched = || external(no_match(location));
    let places = of_format.map(|file| {
        let url = Url::from_file_path(&file).map_err(|()| unmatched())?;
        ListingTableUrl::try_new(url, None)
    });
    let places: Vec<_> = places.collect::<Result<_, _>>()?;
    match places.is_empty() {
        true => Err(unmatched()),
        false => Ok(places),
    }
}

/// The columns of all files there.
async fn columns(
    options: &ListingOptions,
    places: &[ListingTableUrl],
    state: &dyn Session,
) -> Result<SchemaRef, DataFusionError> {
    let store = match places {
        [place] => return options.infer_schema(state, place).await,
        [first, ..] => state.runtime_env().object_store(first)?,
        [] => return Ok(Arc::new(Schema::empty())),
    };
    let mut files = Vec::new();
    for place in places {
        let listed = place.list_all_files(state, store.as_ref(), &options.file_extension);
        let listed: Vec<_> = listed.await?.try_collect().await?;
        // Without bytes there are no columns to be read.
        files.extend(listed.into_iter().filter(|file| file.size > 0));
    }
    options.format.infer_schema(state, &store, &files).await
}

fn external(fault: Fault) -> DataFusionError {
    DataFusionError::External(Box::new(fault))
}

fn ending(path: &str) -> Option<Ending> {
    let lower = path.to_lowercase();
    let (stem, compression) = COMPRESSIONS
        .iter()
        .find_map(|(end, kind)| Some((lower.strip_suffix(end)?, *kind)))
        .unwrap_or((&lower, FileCompressionType::UNCOMPRESSED));
    let (end, format) = FORMATS.iter().find(|(end, _)| stem.ends_with(end))?;
    if compression.is_compressed() && !matches!(format, Format::Csv | Format::Tsv | Format::Json) {
        return None;
    }
    let length = end.len() + lower.len() - stem.len();
    Some(Ending {
        format: *format,
        compression,
        extension: path[path.len() - length..].to_string(),
    })
}

fn format(ending: &Ending, options: TableOptions) -> Arc<dyn FileFormat> {
    match ending.format {
        Format::Parquet => Arc::new(ParquetFormat::new().with_options(options.parquet)),
        Format::Arrow => Arc::new(ArrowFormat),
        Format::Json => Arc::new(
            JsonFormat::default()
                .with_options(options.json)
                .with_file_compression_type(ending.compression),
        ),
        Format::Csv | Format::Tsv => {
            let separator = match ending.format {
                Format::Tsv => b'\t',
                _ => b',',
            };
            Arc::new(
                CsvFormat::default()
                    .with_options(options.csv)
                    .with_has_header(true)
                    .with_delimiter(separator)
                    .with_file_compression_type(ending.compression),
            )
        }
    }
}

/// The first file a location matches; a URL is taken as it is.
fn first_match(location: &str) -> Result<String, Fault> {
    if location.contains("://") {
        return Ok(location.to_string());
    }
    let pattern = match location.ends_with('/') {
        true => format!("{}**/*", glob::Pattern::escape(location)),
        false if Path::new(location).exists() => return Ok(location.to_string()),
        false => location.to_string(),
    };
    let readable = |path: &std::path::PathBuf| {
        path.is_file() && (!location.ends_with('/') || ending(&path.to_string_lossy()).is_some())
    };
    let first = matches(&pattern)?.find(readable);
    first
        .map(|path| path.to_string_lossy().into_owned())
        .ok_or_else(|| no_match(location))
}

/// What a pattern matches, in the order of names; hidden files only by a dot of its own.
fn matches(pattern: &str) -> Result<impl Iterator<Item = PathBuf>, Fault> {
    let options = MatchOptions {
        require_literal_leading_dot: true,
        ..MatchOptions::default()
    };
    let matches = glob::glob_with(pattern, options).map_err(|error| {
        let text = format!("read '{pattern}': {error}");
        Fault::new(ErrorCode::SqlPlanError, text)
    })?;
    Ok(matches.filter_map(Result::ok))
}

fn no_match(location: &str) -> Fault {
    let fixed = location.split(['*', '?', '[']).next().unwrap_or(location);
    let folder = Path::new(fixed);
    let folder = match fixed.ends_with('/') {
        true => folder,
        false => folder.parent().unwrap_or(folder),
    };
    let hint = match folder.is_dir() {
        true => format!("{} has no file of that name", folder.display()),
        false => format!("there is no directory {}", folder.display()),
    };
    Fault::new(
        ErrorCode::NotFound,
        format!("read '{location}': no file matches"),
    )
    .with_hint(hint)
}

fn unknown_format(path: &str, file: &str) -> Fault {
    let endings: Vec<&str> = FORMATS.iter().map(|(end, _)| *end).collect();
    Fault::new(
        ErrorCode::SqlPlanError,
        format!("read '{path}': the name {file:?} does not tell a format"),
    )
    .with_hint(format!(
        "names ending with {} are read; CREATE EXTERNAL TABLE ... STORED AS names a format",
        endings.join(" ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_from_names() {
        assert!(is_path("data/*.parquet"));
        assert!(is_path("trips.csv.gz"));
        assert!(!is_path("trips"));
    }

    #[test]
    fn relative_paths_begin_in_the_sessions_directory() {
        assert_eq!(absolute("a/b.csv", "/home/x/"), "/home/x/a/b.csv");
        assert_eq!(absolute("/a/b.csv", "/home/x"), "/a/b.csv");
        assert_eq!(absolute("s3://bucket/k", "/home/x"), "s3://bucket/k");
    }

    #[test]
    fn urls_of_stores_are_refused_without_their_secrets() {
        for local in ["/a/b.csv", "file:///a/b.csv", "a@b/c.csv"] {
            assert!(check_local(local).is_ok(), "{local}");
        }
        for (url, told) in [
            ("s3://me:secret@bucket/k.csv", "open s3://bucket/k.csv: "),
            (
                "https://host/a@b.csv?token=secret",
                "open https://host/a@b.csv: ",
            ),
        ] {
            let message = check_local(url).unwrap_err().message;
            assert!(message.starts_with(told), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }

    #[test]
    fn endings_keep_their_case_and_compression() {
        let found = ending("/d/A.CSV.gz").unwrap();
        assert_eq!(
            (found.format, found.extension.as_str()),
            (Format::Csv, ".CSV.gz")
        );
        assert!(ending("/d/a.parquet.gz").is_none());
    }
}
