//! SQL reaches the engines as it was written: nothing in it is taken for an option, a parameter or an end.

use crate::scripted_host::ScriptedHost;

#[tokio::test]
async fn bodies_arrive_as_they_were_written() {
    for (cell, expected) in [
        ("%%sql\nSELECT -1, - -2, a - -b", "SELECT -1, - -2, a - -b"),
        (
            "%%sql\nSELECT doc -> 'a' ->> 'b', n::int, '10:30'",
            "SELECT doc -> 'a' ->> 'b', n::int, '10:30'",
        ),
        (
            "%%sql\nSELECT 1 -- it's --limit 5; not an end\n, 2",
            "SELECT 1 -- it's --limit 5; not an end\n, 2",
        ),
        ("%%sql\n--limit 5\nSELECT 1", "SELECT 1"),
        (
            "%%sql\nSELECT /* ; $no {{no}} /* nested */ */ 1;\n",
            "SELECT /* ; $no {{no}} /* nested */ */ 1",
        ),
        (
            "%%sql\nSELECT 'a;b', \"c;d\", '100%', '%%sql';;",
            "SELECT 'a;b', \"c;d\", '100%', '%%sql'",
        ),
        (
            "%sql SELECT -1, '--rows', 5 % 2;",
            "SELECT -1, '--rows', 5 % 2",
        ),
        (
            "%%sql\nWITH a AS (SELECT 1) SELECT * FROM a",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ),
    ] {
        let host = ScriptedHost::default();
        host.run(cell)
            .await
            .unwrap_or_else(|fault| panic!("{cell}: {fault}"));
        let submitted: Vec<String> = host.submitted().into_iter().map(|(sql, _)| sql).collect();
        assert_eq!(submitted, [expected], "{cell}");
    }
}
