//! The 22 queries of TPC-H with the validation parameters of the specification.
//!
//! Each is one statement without a closing semicolon. Row limits are those of the specification.
//! See <https://www.tpc.org/tpch/>.

/// How many queries there are.
pub const TPCH_QUERY_COUNT: usize = 22;

const TPCH: [&str; TPCH_QUERY_COUNT] = [
    include_str!("queries/tpch/q01.sql"),
    include_str!("queries/tpch/q02.sql"),
    include_str!("queries/tpch/q03.sql"),
    include_str!("queries/tpch/q04.sql"),
    include_str!("queries/tpch/q05.sql"),
    include_str!("queries/tpch/q06.sql"),
    include_str!("queries/tpch/q07.sql"),
    include_str!("queries/tpch/q08.sql"),
    include_str!("queries/tpch/q09.sql"),
    include_str!("queries/tpch/q10.sql"),
    include_str!("queries/tpch/q11.sql"),
    include_str!("queries/tpch/q12.sql"),
    include_str!("queries/tpch/q13.sql"),
    include_str!("queries/tpch/q14.sql"),
    include_str!("queries/tpch/q15.sql"),
    include_str!("queries/tpch/q16.sql"),
    include_str!("queries/tpch/q17.sql"),
    include_str!("queries/tpch/q18.sql"),
    include_str!("queries/tpch/q19.sql"),
    include_str!("queries/tpch/q20.sql"),
    include_str!("queries/tpch/q21.sql"),
    include_str!("queries/tpch/q22.sql"),
];

/// Returns the text of query `number`, counted from 1.
pub fn tpch_query(number: usize) -> Option<&'static str> {
    TPCH.get(number.checked_sub(1)?).copied()
}

/// Returns all queries with their numbers.
pub fn tpch_queries() -> impl ExactSizeIterator<Item = (usize, &'static str)> {
    (1..TPCH_QUERY_COUNT + 1).zip(TPCH)
}
