//! What SQL the verbs give.

use crate::frame::expr::{all, col, dense_rank, function, len, lit, rank, row_number};
use crate::frame::join::JoinType;
use crate::frame::lazy_frame::LazyFrame;
use crate::frame::run::{scan_csv, scan_json, scan_parquet, sql};
use crate::frame::when;
use arrow_schema::{DataType, TimeUnit};

fn source(columns: &[&str]) -> LazyFrame {
    let columns = columns.iter().map(|name| (*name).to_string()).collect();
    LazyFrame::source("SELECT * FROM t".to_string(), columns)
}

fn trips() -> LazyFrame {
    source(&["city", "km", "at"])
}

/// The last step of a frame made of one verb.
fn step(frame: &LazyFrame) -> String {
    let sql = frame.to_sql().unwrap();
    let first = "WITH \"__step_1\" AS (\nSELECT * FROM t\n)\n";
    sql.strip_prefix(first).unwrap_or(&sql).to_string()
}

/// The column of a frame that is made of one expression.
fn expression(one: crate::Expr) -> String {
    let frame = source(&["a", "b", "c"]).select(one.alias("x"));
    let step = step(&frame);
    let inner = step.strip_prefix("SELECT ").unwrap();
    let end = " AS \"x\" FROM \"__step_1\"";
    inner.strip_suffix(end).unwrap().to_string()
}

fn refused(frame: &LazyFrame) -> String {
    frame.to_sql().unwrap_err().to_string()
}

#[test]
fn a_source_is_its_query() {
    assert_eq!(trips().to_sql().unwrap(), "SELECT * FROM t");
    assert_eq!(trips().columns().unwrap(), ["city", "km", "at"]);
}

#[test]
fn verbs_are_steps_one_behind_the_other() {
    let frame = trips()
        .filter(col("km").gt(5))
        .group_by("city")
        .agg([len(), col("km").mean().alias("mean_km")])
        .sort([col("mean_km").desc(), col("city")])
        .limit(10);
    insta::assert_snapshot!(frame.to_sql().unwrap(), @r#"
    WITH "__step_1" AS (
    SELECT * FROM t
    ),
    "__step_2" AS (
    SELECT * FROM "__step_1" WHERE ("km" > 5)
    ),
    "__step_3" AS (
    SELECT "city", count(*) AS "len", avg("km") AS "mean_km" FROM "__step_2" GROUP BY 1
    )
    SELECT * FROM "__step_3" ORDER BY "mean_km" DESC NULLS LAST, "city" ASC NULLS LAST LIMIT 10
    "#);
    assert_eq!(frame.columns().unwrap(), ["city", "len", "mean_km"]);
}

#[test]
fn columns_are_chosen_computed_renamed_and_dropped() {
    let all_of = trips().select([all(), (col("km") * 2).alias("twice")]);
    assert_eq!(
        step(&all_of),
        r#"SELECT "city", "km", "at", ("km" * 2) AS "twice" FROM "__step_1""#
    );
    let replaced = trips().with_columns([col("km") / 1.5, lit("x").alias("new")]);
    assert_eq!(
        step(&replaced),
        r#"SELECT "city", ("km" / CAST('1.5' AS DOUBLE)) AS "km", "at", 'x' AS "new" FROM "__step_1""#
    );
    assert_eq!(replaced.columns().unwrap(), ["city", "km", "at", "new"]);
    let renamed = trips().rename([("at", "when"), ("city", "km"), ("km", "city")]);
    assert_eq!(
        step(&renamed),
        r#"SELECT "city" AS "km", "km" AS "city", "at" AS "when" FROM "__step_1""#
    );
    let dropped = trips().drop(["km", "at"]);
    assert_eq!(step(&dropped), r#"SELECT "city" FROM "__step_1""#);
    assert_eq!(
        step(&trips().with_column(len())),
        r#"SELECT "city", "km", "at", count(*) OVER () AS "len" FROM "__step_1""#
    );
}

#[test]
fn rows_are_chosen() {
    let select = "SELECT * FROM \"__step_1\"";
    let tail = |frame: &LazyFrame| step(frame).strip_prefix(select).unwrap().to_string();
    assert_eq!(tail(&trips().head(3)), " LIMIT 3");
    assert_eq!(tail(&trips().slice(5, 3)), " LIMIT 3 OFFSET 5");
    assert_eq!(tail(&trips().sort("km")), " ORDER BY \"km\" ASC NULLS LAST");
    assert_eq!(
        tail(&trips().sort(col("km").desc().nulls_first())),
        " ORDER BY \"km\" DESC NULLS FIRST"
    );
    assert_eq!(
        tail(&source(&["a", "b"]).drop_nulls()),
        " WHERE \"a\" IS NOT NULL AND \"b\" IS NOT NULL"
    );
    assert_eq!(
        step(&trips().unique()),
        r#"SELECT DISTINCT "city", "km", "at" FROM "__step_1""#
    );
    assert_eq!(step(&trips().distinct()), step(&trips().unique()));
}

#[test]
fn an_order_is_kept_by_what_follows() {
    let sorted = trips().sort([col("km").desc(), col("at") + 1]);
    insta::assert_snapshot!(step(&sorted), @r#"SELECT * FROM "__step_1" ORDER BY "km" DESC NULLS LAST, ("at" + 1) ASC NULLS LAST"#);
    let gone = sorted
        .select(["km", "city"])
        .filter(col("km").gt(1))
        .limit(3);
    insta::assert_snapshot!(gone.to_sql().unwrap(), @r#"
    WITH "__step_1" AS (
    SELECT * FROM t
    ),
    "__step_2" AS (
    SELECT "km", "city", ("at" + 1) AS "__order" FROM "__step_1"
    ),
    "__step_3" AS (
    SELECT * FROM "__step_2" WHERE ("km" > 1)
    ),
    "__step_4" AS (
    SELECT * FROM "__step_3" ORDER BY "km" DESC NULLS LAST, "__order" ASC NULLS LAST LIMIT 3
    )
    SELECT "km", "city" FROM "__step_4" ORDER BY "km" DESC NULLS LAST, "__order" ASC NULLS LAST
    "#);
    assert_eq!(gone.columns().unwrap(), ["km", "city"]);
    let renamed = trips()
        .sort("km")
        .rename([("km", "at"), ("at", "km")])
        .limit(2)
        .sort("km");
    insta::assert_snapshot!(renamed.to_sql().unwrap(), @r#"
    WITH "__step_1" AS (
    SELECT * FROM t
    ),
    "__step_2" AS (
    SELECT "city", "km" AS "at", "at" AS "km", "km" AS "__order" FROM "__step_1"
    ),
    "__step_3" AS (
    SELECT * FROM "__step_2" ORDER BY "__order" ASC NULLS LAST LIMIT 2
    )
    SELECT "city", "at", "km" FROM "__step_3" ORDER BY "km" ASC NULLS LAST
    "#);
    let grouped = trips().sort("km").group_by("city").agg(len());
    assert!(!grouped.to_sql().unwrap().contains("ORDER BY"));
}

#[test]
fn aggregates_among_rows_are_windows() {
    assert_eq!(
        step(&trips().select([col("km").sum(), len()])),
        r#"SELECT sum("km") AS "km", count(*) AS "len" FROM "__step_1""#
    );
    assert_eq!(
        step(&trips().select([col("city"), col("km").sum()])),
        r#"SELECT "city", sum("km") OVER () AS "km" FROM "__step_1""#
    );
    insta::assert_snapshot!(trips().filter(col("km").gt(col("km").mean())).to_sql().unwrap(), @r#"
    WITH "__step_1" AS (
    SELECT * FROM t
    ),
    "__step_2" AS (
    SELECT "city", "km", "at", ("km" > avg("km") OVER ()) AS "__kept" FROM "__step_1"
    )
    SELECT "city", "km", "at" FROM "__step_2" WHERE "__kept"
    "#);
}

#[test]
fn windows() {
    assert_eq!(
        expression((col("a") - col("a").mean()).over(["b", "c"])),
        r#"("a" - avg("a") OVER (PARTITION BY "b", "c"))"#
    );
    assert_eq!(
        expression(rank().over_ordered("b", col("a").desc())),
        r#"rank() OVER (PARTITION BY "b" ORDER BY "a" DESC NULLS LAST)"#
    );
    assert_eq!(
        expression(row_number().over_ordered(Vec::<&str>::new(), "a")),
        r#"row_number() OVER (ORDER BY "a" ASC NULLS LAST)"#
    );
    assert_eq!(
        expression(dense_rank().over_ordered("b", ["a", "c"])),
        r#"dense_rank() OVER (PARTITION BY "b" ORDER BY "a" ASC NULLS LAST, "c" ASC NULLS LAST)"#
    );
    let before = col("a").shift(1).over_ordered("b", "c");
    assert_eq!(
        expression(before),
        r#"lag("a", 1) OVER (PARTITION BY "b" ORDER BY "c" ASC NULLS LAST)"#
    );
    let behind = col("a").shift(-2).over_ordered("b", "c");
    assert!(expression(behind).starts_with("lead(\"a\", 2) OVER"));
}

#[test]
fn comparisons_logic_and_arithmetic() {
    let a = || col("a");
    for (one, sql) in [
        (a().eq("it's"), r#"("a" = 'it''s')"#),
        (a().neq(col("b")), r#"("a" <> "b")"#),
        (a().gt(1).and(a().lt(5)), r#"(("a" > 1) AND ("a" < 5))"#),
        (
            a().gt_eq(1).or(a().lt_eq(-5)),
            r#"(("a" >= 1) OR ("a" <= (-5)))"#,
        ),
        (
            a().gt(1) & !a().is_null() | col("b"),
            r#"((("a" > 1) AND (NOT ("a" IS NULL))) OR "b")"#,
        ),
        (a().is_not_null(), r#"("a" IS NOT NULL)"#),
        (a().eq(true).not(), r#"(NOT ("a" = TRUE))"#),
        (
            a().eq_missing(None::<i64>),
            r#"("a" IS NOT DISTINCT FROM CAST(NULL AS BIGINT))"#,
        ),
        (a().is_in(["x", "y"]), r#"("a" IN ('x', 'y'))"#),
        (a().is_in([1]), r#"("a" IN (1))"#),
        (a().is_in(Vec::<i64>::new()), r#"("a" IS NULL AND FALSE)"#),
        (a().between(1, col("b")), r#"("a" BETWEEN 1 AND "b")"#),
        (a() + 1 - col("b") * 2, r#"(("a" + 1) - ("b" * 2))"#),
        (1 - a() / 3 % 2, r#"(1 - (("a" / 3) % 2))"#),
        (-a(), r#"(- "a")"#),
        (a().like("x%"), r#"("a" LIKE 'x%')"#),
        (a().fill_null(0), r#"coalesce("a", 0)"#),
        (a().round(2).abs(), r#"abs(round("a", 2))"#),
        (a().pow(2), r#"power("a", 2)"#),
        (a().lower().contains("ü"), r#"contains(lower("a"), 'ü')"#),
        (a().date_trunc("month"), r#"date_trunc('month', "a")"#),
        (a().date_part("year"), r#"date_part('year', "a")"#),
        (function("left", [a(), lit(3)]), r#"left("a", 3)"#),
        (function("now(); --", Vec::<i64>::new()), "now()"),
        (a().cast(DataType::Int32), r#"arrow_cast("a", 'Int32')"#),
    ] {
        assert_eq!(expression(one), sql);
    }
    let instant = a().cast(DataType::Timestamp(TimeUnit::Second, None));
    assert_eq!(expression(instant), r#"arrow_cast("a", 'Timestamp(s)')"#);
}

#[test]
fn aggregates() {
    let a = || col("a");
    for (one, sql) in [
        (a().sum(), "sum"),
        (a().mean(), "avg"),
        (a().min(), "min"),
        (a().max(), "max"),
        (a().count(), "count"),
        (a().std(), "stddev_samp"),
        (a().var(), "var_samp"),
        (a().median(), "median"),
        (a().first(), "first_value"),
        (a().last(), "last_value"),
    ] {
        assert_eq!(expression(one), format!("{sql}(\"a\")"));
    }
    assert_eq!(expression(a().n_unique()), r#"count(DISTINCT "a")"#);
    assert_eq!(
        expression((a() * 2).sum() / len()),
        r#"(sum(("a" * 2)) / count(*))"#
    );
}

#[test]
fn choices() {
    let choice = when(col("a").gt(1))
        .then("x")
        .when(col("b").is_null())
        .then(col("c"));
    assert_eq!(
        expression(choice.clone().otherwise("z")),
        r#"CASE WHEN ("a" > 1) THEN 'x' WHEN ("b" IS NULL) THEN "c" ELSE 'z' END"#
    );
    assert_eq!(
        expression(choice.into()),
        r#"CASE WHEN ("a" > 1) THEN 'x' WHEN ("b" IS NULL) THEN "c" END"#
    );
    let named = source(&["a", "b"]).select(when(col("a")).then(col("b")).otherwise(0));
    assert_eq!(named.columns().unwrap(), ["b"]);
}

#[test]
fn joins() {
    let left = source(&["id", "a", "b"]);
    let right = source(&["key", "b", "c"]);
    let sql = |how| {
        let joined = left.join(&right, "id", "key", how);
        let sql = joined.to_sql().unwrap();
        let last = sql.lines().last().unwrap().to_string();
        (last, joined.columns().unwrap().join(" "))
    };
    let (inner, columns) = sql(JoinType::Inner);
    insta::assert_snapshot!(inner, @r#"SELECT "__left"."id" AS "id", "__left"."a" AS "a", "__left"."b" AS "b", "__right"."b" AS "b_right", "__right"."c" AS "c" FROM "__step_1" AS "__left" JOIN "__step_2" AS "__right" ON "__left"."id" = "__right"."key""#);
    assert_eq!(columns, "id a b b_right c");
    let (outer, _) = sql(JoinType::Right);
    assert!(
        outer.starts_with(r#"SELECT "__right"."key" AS "id", "#),
        "{outer}"
    );
    assert!(outer.contains(" RIGHT JOIN "));
    let (_, columns) = sql(JoinType::Full);
    assert_eq!(columns, "id a b key b_right c");
    let (semi, columns) = sql(JoinType::Semi);
    assert!(semi.contains(" LEFT SEMI JOIN "), "{semi}");
    assert_eq!(columns, "id a b");
    assert!(sql(JoinType::Anti).0.contains(" LEFT ANTI JOIN "));
    assert!(sql(JoinType::Left).0.contains(" LEFT JOIN "));

    let same = source(&["id", "x"]);
    let full = left.join(&same, "id", "id", JoinType::Full);
    let text = full.to_sql().unwrap();
    assert!(
        text.contains(r#"coalesce("__left"."id", "__right"."id") AS "id""#),
        "{text}"
    );
    assert_eq!(full.columns().unwrap(), ["id", "a", "b", "x"]);
    assert_eq!(
        left.inner_join(&same, "id").columns().unwrap(),
        ["id", "a", "b", "x"]
    );
    assert_eq!(
        left.left_join(&same, ["id"]).columns().unwrap(),
        ["id", "a", "b", "x"]
    );
    let crossed = left.cross_join(&same);
    assert_eq!(
        crossed.columns().unwrap(),
        ["id", "a", "b", "id_right", "x"]
    );
    assert!(
        crossed
            .to_sql()
            .unwrap()
            .contains(" AS \"__left\" CROSS JOIN ")
    );
    let computed = left.join(&right, col("a") + 1, col("key").lower(), JoinType::Inner);
    let text = computed.to_sql().unwrap();
    assert!(
        text.ends_with(r#"ON ("__left"."a" + 1) = lower("__right"."key")"#),
        "{text}"
    );
}

#[test]
fn a_shared_step_is_written_once() {
    let base = trips().filter(col("km").gt(0));
    let joined = base
        .inner_join(&base, "city")
        .union(&base.inner_join(&base, "city"));
    let text = joined.to_sql().unwrap();
    assert_eq!(text.matches("WHERE").count(), 1, "{text}");
    assert_eq!(text.matches("UNION ALL").count(), 1);
}

#[test]
fn nasty_names_stay_names() {
    let name = "a \"b\"; -- é";
    let frame = source(&[name, "select", "Ü"]);
    let text = frame.select([name, "select"]).to_sql().unwrap();
    assert!(
        text.ends_with(r#"SELECT "a ""b""; -- é", "select" FROM "__step_1""#),
        "{text}"
    );
    let windowed = frame.select([
        col("Ü").sum().over(name).alias("x y"),
        lit("{{!p}}").alias("p"),
    ]);
    assert_eq!(
        step(&windowed),
        r#"SELECT sum("Ü") OVER (PARTITION BY "a ""b""; -- é") AS "x y", ('{' || '{!p}}') AS "p" FROM "__step_1""#
    );
}

#[test]
fn what_cannot_be_meant_is_told_when_it_runs() {
    for (frame, says) in [
        (
            trips().select("KM"),
            "select: there is no column \"KM\"; names are matched exactly, and there is one \"km\"",
        ),
        (
            trips().filter(col("x").gt(1)).limit(1),
            "filter: there is no column \"x\"; there are city, km, at",
        ),
        (
            trips().sort(col("x").desc()),
            "sort: there is no column \"x\"",
        ),
        (trips().drop("x"), "drop: there is no column \"x\""),
        (
            trips().drop(col("km") + 1),
            "drop: it takes names of columns",
        ),
        (
            trips().drop(["city", "km", "at"]),
            "drop: a frame needs a column at least",
        ),
        (
            trips().rename([("km", "city")]),
            "rename: two columns are called \"city\"; `alias` one",
        ),
        (
            trips().select([col("km"), col("km").sum()]),
            "two columns are called \"km\"",
        ),
    ] {
        let told = refused(&frame);
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn groups_orders_and_joins_that_cannot_be_meant_are_told() {
    for (frame, says) in [
        (
            trips().group_by("city").agg(col("km")),
            "agg: \"km\" has a value per row, and a group has one",
        ),
        (
            trips().group_by(len()).agg(len()),
            "group_by: a key is a value of each row",
        ),
        (
            trips().group_by(Vec::<&str>::new()).agg(len()),
            "group_by: it needs a key at least",
        ),
        (
            trips().select(col("km").desc()),
            "only `sort` and `over_ordered` take",
        ),
        (
            trips().sort(col("km").desc() + 1),
            "asc() and desc() come last",
        ),
        (
            trips().join(&trips(), ["city", "km"], "city", JoinType::Inner),
            "there are 2 left keys and 1 right ones",
        ),
        (
            trips().union(&source(&["city"])),
            "union: there is no column \"km\"",
        ),
        (
            source(&["city"]).union(&trips()),
            "union: the other frame has more columns",
        ),
        (
            trips().inner_join(&trips().select("x"), "city"),
            "select: there is no column \"x\"",
        ),
    ] {
        let told = refused(&frame);
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn without_a_kernel_a_source_says_so() {
    let told = sql("SELECT 1").unwrap_err().to_string();
    assert!(
        told.contains("only cells of a notebook can run queries"),
        "{told}"
    );
    for (scanned, says) in [
        (
            scan_parquet("a.csv"),
            "scan_parquet: \"a.csv\" ends in none of parquet",
        ),
        (scan_csv("a.csv.gz"), "only cells of a notebook"),
        (scan_csv("A.TSV"), "only cells of a notebook"),
        (scan_json("x/*.ndjson.zst"), "only cells of a notebook"),
        (scan_json("x/*.gz"), "ends in none of json, jsonl, ndjson"),
    ] {
        let told = scanned.unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
}
