//! Every kind of join, with and without filter, in all, a quarter and a twentieth of what its build
//! side takes.

use crate::harness::{ALL_KEYS, Case, KINDS, Shape, compare};
use datafusion::common::{JoinType, NullEquality};
use datafusion::physical_plan::joins::PartitionMode;
use proptest::prelude::*;

const BUILD: Shape = Shape {
    rows: 12_000,
    keys: 9000,
    same_key_in: 0,
    null_in: 20,
    seed: 1,
};
const PROBE: Shape = Shape {
    rows: 9000,
    keys: 12_000,
    same_key_in: 0,
    null_in: 15,
    seed: 2,
};

async fn all_kinds(mode: PartitionMode, build: Shape, probe: Shape) {
    let mut keys = ALL_KEYS.into_iter().cycle();
    for kind in KINDS {
        for filtered in [false, true] {
            let case = Case {
                mode,
                keys: keys.next().unwrap(),
                filtered,
                ..Case::new(kind, build, probe)
            };
            let bytes = case.build_bytes();
            assert_eq!(compare(&case, bytes * 8).await, 0, "{case:?} spilled");
            for part in [4, 20] {
                let spilled = compare(&case, bytes / part).await;
                assert!(spilled > 0, "{case:?} did not spill");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitioned_joins_spill() {
    all_kinds(PartitionMode::Partitioned, BUILD, PROBE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_that_collect_a_side_spill() {
    all_kinds(PartitionMode::CollectLeft, BUILD, PROBE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_of_half_the_rows_is_joined_block_by_block() {
    let build = Shape {
        rows: 5000,
        same_key_in: 2,
        ..BUILD
    };
    let probe = Shape {
        same_key_in: 400,
        ..PROBE
    };
    for mode in [PartitionMode::Partitioned, PartitionMode::CollectLeft] {
        all_kinds(mode, build, probe).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nulls_that_are_equal_meet() {
    let build = Shape {
        null_in: 3,
        rows: 6000,
        ..BUILD
    };
    let probe = Shape {
        null_in: 500,
        ..PROBE
    };
    let mut keys = ALL_KEYS.into_iter().cycle();
    for kind in KINDS {
        let case = Case {
            keys: keys.next().unwrap(),
            nulls: NullEquality::NullEqualsNull,
            ..Case::new(kind, build, probe)
        };
        compare(&case, case.build_bytes() / 8).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_in_knows_of_all_nulls() {
    let none = |shape: Shape| Shape {
        null_in: 0,
        ..shape
    };
    let empty = Shape { rows: 0, ..PROBE };
    for (build, probe) in [
        (BUILD, PROBE),
        (BUILD, none(PROBE)),
        (none(BUILD), none(PROBE)),
        (BUILD, empty),
        (none(BUILD), PROBE),
    ] {
        let case = Case {
            null_aware: true,
            mode: PartitionMode::CollectLeft,
            ..Case::new(JoinType::LeftAnti, build, probe)
        };
        for part in [1, 4, 20] {
            compare(&case, case.build_bytes() / part).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_side_is_no_special_case() {
    let empty = Shape { rows: 0, ..PROBE };
    for kind in KINDS {
        for mode in [PartitionMode::Partitioned, PartitionMode::CollectLeft] {
            for (build, probe) in [(BUILD, empty), (empty, PROBE)] {
                let case = Case {
                    mode,
                    ..Case::new(kind, build, probe)
                };
                compare(&case, (case.build_bytes() / 8).max(1 << 18)).await;
            }
        }
    }
}

fn shape() -> impl Strategy<Value = Shape> {
    let skews = prop_oneof![Just(0_usize), Just(300), Just(50)];
    let nulls = prop_oneof![Just(0_usize), Just(2), Just(30)];
    (
        2000..9000_usize,
        300..20_000_i64,
        skews,
        nulls,
        any::<u32>(),
    )
        .prop_map(|(rows, keys, same_key_in, null_in, seed)| Shape {
            rows,
            keys,
            same_key_in,
            null_in,
            seed: u64::from(seed),
        })
}

fn case() -> impl Strategy<Value = Case> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let join = (0..KINDS.len(), 0..ALL_KEYS.len());
    (join, flags, shape(), shape(), any::<bool>()).prop_map(
        |((kind, keys), (collected, filtered, projected, skewed), build, probe, equal)| {
            let skewed = skewed && probe.same_key_in != 50;
            let build = Shape {
                same_key_in: if skewed { 2 } else { build.same_key_in },
                ..build
            };
            // Null with null would be millions of rows here.
            let equal = equal && (build.null_in != 2 || probe.null_in != 2);
            Case {
                mode: match collected {
                    true => PartitionMode::CollectLeft,
                    false => PartitionMode::Partitioned,
                },
                filtered,
                projected,
                keys: ALL_KEYS[keys],
                nulls: match equal {
                    true => NullEquality::NullEqualsNull,
                    false => NullEquality::NullEqualsNothing,
                },
                ..Case::new(KINDS[kind], build, probe)
            }
        },
    )
}

/// Cases of the property: few by default, since each runs a join three times.
#[expect(
    clippy::disallowed_methods,
    reason = "proptest's own variable, with another default"
)]
fn cases() -> u32 {
    let cases = std::env::var("PROPTEST_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn spilling_changes_no_answer(case in case(), part in prop_oneof![Just(1_usize), Just(4), Just(20)]) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(compare(&case, case.build_bytes() / part));
    }
}
