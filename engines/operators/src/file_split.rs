//! How the files of a scan are dealt to the engines: the same number of groups for each task,
//! about equal bytes in each group, padded with empty ones. Files whose format allows it are cut
//! at byte ranges; DataFusion's readers take each row group or line from exactly one range.

use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};

/// No piece is smaller, so that small files stay whole.
const PIECE_BYTES_MIN: u64 = 256 << 10;

/// The groups of each task: `tasks` lists of as many groups as the scan has.
pub(crate) fn split(scan: &FileScanConfig, tasks: usize) -> Vec<Vec<FileGroup>> {
    let groups = scan.file_groups.len();
    let bins = groups * tasks;
    let divisible = is_divisible(scan);
    let filled = if scan.output_ordering.is_empty() && !scan.preserve_order {
        let files = scan
            .file_groups
            .iter()
            .flat_map(|group| group.files().to_vec());
        cut(files.collect(), bins, divisible)
    } else {
        // A piece of a sorted group is sorted; pieces of two groups in one are not.
        let with_files = scan.file_groups.iter().filter(|group| !group.is_empty());
        let with_files: Vec<_> = with_files.collect();
        let each = (bins / with_files.len().max(1)).max(1);
        let pieces = with_files.iter();
        pieces
            .flat_map(|group| cut(group.files().to_vec(), each, divisible))
            .collect()
    };
    deal(filled, groups, tasks)
}

/// Deals bins out in turn, so that neighbouring pieces of a file go to different engines, and every second
/// time the other way round: halves of files are seldom equal, because readers take whole row groups.
fn deal(bins: Vec<Vec<PartitionedFile>>, groups: usize, tasks: usize) -> Vec<Vec<FileGroup>> {
    let mut dealt = vec![Vec::with_capacity(groups); tasks];
    for (position, files) in bins.into_iter().enumerate() {
        let turn = position % tasks;
        let is_forward = (position / tasks).is_multiple_of(2);
        let task = if is_forward { turn } else { tasks - 1 - turn };
        dealt[task].push(FileGroup::new(files));
    }
    for groups_of_task in &mut dealt {
        groups_of_task.resize_with(groups, || FileGroup::new(Vec::new()));
    }
    dealt
}

/// At most so many bins of about equal bytes, each a run of the files in their order.
fn cut(files: Vec<PartitionedFile>, bins: usize, divisible: bool) -> Vec<Vec<PartitionedFile>> {
    let total: u64 = files.iter().map(PartitionedFile::effective_size).sum();
    let target = total.div_ceil(bins.max(1) as u64).max(1);
    let mut result: Vec<Vec<PartitionedFile>> = vec![Vec::new()];
    let mut filled = 0;
    for file in files {
        let (mut start, end) = file.range();
        let pieces_allowed = divisible && file.extensions.is_empty();
        loop {
            let room = target.saturating_sub(filled).max(1);
            let whole = !pieces_allowed || end - start <= room.max(PIECE_BYTES_MIN);
            let stop = if whole {
                end
            } else {
                (start + room.max(PIECE_BYTES_MIN)).min(end)
            };
            let mut piece = file.clone();
            if (start, stop) != file.range() {
                piece.range = Some(FileRange {
                    start: start as i64,
                    end: stop as i64,
                });
            }
            if let Some(bin) = result.last_mut() {
                bin.push(piece);
            }
            filled += stop - start;
            // The last bin takes what is left.
            if filled >= target && result.len() < bins {
                result.push(Vec::new());
                filled = 0;
            }
            start = stop;
            if start >= end {
                break;
            }
        }
    }
    result.retain(|bin| !bin.is_empty());
    result
}

fn is_divisible(scan: &FileScanConfig) -> bool {
    let format = scan.file_source.file_type();
    matches!(format, "parquet" | "csv" | "json")
        && scan.file_source.supports_repartitioning()
        && !scan.file_compression_type.is_compressed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(bins: &[Vec<PartitionedFile>], name: &str) -> Vec<(u64, u64)> {
        let files = bins.iter().flatten();
        let of_name = files.filter(|file| file.object_meta.location.as_ref() == name);
        let mut ranges: Vec<_> = of_name.map(PartitionedFile::range).collect();
        ranges.sort_unstable();
        ranges
    }

    #[test]
    fn every_byte_is_in_exactly_one_bin() {
        let sizes = [10 << 20, 1 << 10, 0, 3 << 20, 700 << 10];
        let files: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(number, size)| PartitionedFile::new(format!("f{number}"), *size))
            .collect();
        for bins in 1..20 {
            for divisible in [true, false] {
                let result = cut(files.clone(), bins, divisible);
                assert!(result.len() <= bins, "{} bins of {bins}", result.len());
                for (number, size) in sizes.iter().enumerate() {
                    let ranges = covered(&result, &format!("f{number}"));
                    assert_eq!(ranges[0].0, 0);
                    assert_eq!(ranges[ranges.len() - 1].1, *size);
                    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0));
                    assert!(divisible || ranges.len() == 1);
                }
            }
        }
    }

    #[test]
    fn large_files_are_cut_evenly() {
        let files = vec![PartitionedFile::new("f", 80 << 20)];
        let bins = cut(files, 8, true);
        let sizes = bins
            .iter()
            .map(|bin| bin.iter().map(PartitionedFile::effective_size).sum());
        let sizes: Vec<u64> = sizes.collect();
        assert_eq!(sizes, vec![10 << 20; 8]);
    }

    #[test]
    fn each_task_gets_the_same_number_of_groups() {
        let bins = vec![vec![PartitionedFile::new("a", 1)]; 3];
        let dealt = deal(bins, 2, 4);
        assert_eq!(dealt.len(), 4);
        assert!(dealt.iter().all(|groups| groups.len() == 2));
        let filled = dealt.iter().flatten().filter(|group| !group.is_empty());
        assert_eq!(filled.count(), 3);
    }

    #[test]
    fn no_task_gets_the_first_half_of_every_file() {
        let files = (0..4).map(|number| PartitionedFile::new(format!("f{number}"), 8 << 20));
        let dealt = deal(cut(files.collect(), 8, true), 4, 2);
        for groups in dealt {
            let first_halves = groups.iter().flat_map(|group| group.files());
            let first_halves = first_halves.filter(|file| file.range().0 == 0);
            assert_eq!(first_halves.count(), 2);
        }
    }
}
