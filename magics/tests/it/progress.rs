//! Progress of a cell whose query takes its time.

use std::time::Duration;

use bireme_client::QueryUpdate;
use bireme_protocol::ErrorCode;
use bireme_protocol::proto::{EngineProgress, QueryProgress};

use crate::samples::{Step, done, rows};
use crate::scripted_host::{Event, ScriptedHost};

fn step(after_ms: u64, percent: u64) -> Step {
    let total = QueryProgress {
        rows_scanned: 200_000 * percent,
        bytes_scanned: (percent << 30) / 100 * 12,
        bytes_to_scan: 12 << 30,
        engines: 2,
        bytes_spilled: 300 << 20,
        ..Default::default()
    };
    let engine = |rank, rows_scanned| EngineProgress {
        rank,
        progress: Some(QueryProgress {
            rows_scanned,
            ..Default::default()
        }),
    };
    let engines = vec![engine(0, 150_000 * percent), engine(1, 50_000 * percent)];
    (
        Duration::from_millis(after_ms),
        QueryUpdate::Progress { total, engines },
    )
}

fn progress_line() -> String {
    let (_, QueryUpdate::Progress { total, engines }) = step(0, 42) else {
        unreachable!()
    };
    let step = bireme_magics::display::progress::Step { total, engines };
    bireme_magics::display::progress::running(&step, Duration::from_millis(800)).plain
}

fn shown(host: &ScriptedHost) -> Vec<String> {
    let events = host.events().into_iter().filter_map(|event| match event {
        Event::Progress(bundle) => Some(bundle.plain),
        _ => None,
    });
    events.collect()
}

#[tokio::test]
async fn a_fast_query_shows_no_progress() {
    let host = ScriptedHost::default();
    host.script(vec![
        (Duration::ZERO, QueryUpdate::Batch(rows(1))),
        (Duration::ZERO, done(1, None)),
    ]);
    host.run("%%sql\nSELECT 1").await.unwrap();
    assert_eq!(shown(&host), [""; 0]);
}

#[tokio::test]
async fn a_slow_query_shows_one_line_that_ends_as_its_summary() {
    let host = ScriptedHost::default();
    let mut steps: Vec<Step> = (1..=40).map(|n| step(50, n * 2)).collect();
    steps.push((Duration::ZERO, QueryUpdate::Batch(rows(1))));
    steps.push((Duration::ZERO, done(1, None)));
    host.script(steps);
    let started = std::time::Instant::now();
    host.run("%%sql\nSELECT 1").await.unwrap();
    let updates_max = started.elapsed().as_millis() as usize / 250 + 1;
    let shown = shown(&host);
    // From 400 ms on at most four a second, and the summary.
    assert!((2..=updates_max).contains(&shown.len()), "{shown:#?}");
    insta::with_settings!({filters => vec![(r"\d+ ms$|\d+\.\d+ s$", "[elapsed]"), (r"\d+(\.\d+)? [GM]B/s", "[rate]")]}, {
        insta::assert_snapshot!(progress_line(), @"[########------------]  41% 8.40M rows · 5.0 GiB of 12.0 GiB · [rate] · spilled 300.0 MiB · 2 engines (2.10M to 6.30M rows each) · [elapsed]");
        insta::assert_snapshot!(shown.last().unwrap(), @"1 row in 1.23 s · read 1_000_000 rows, 512.0 MiB at [rate] · 2 engines");
    });
}

#[tokio::test]
async fn a_silent_query_shows_within_a_second_that_it_runs() {
    let host = ScriptedHost::default();
    host.script(vec![(Duration::from_secs(1), done(1, None))]);
    host.run("%%sql\nSELECT 1").await.unwrap();
    let shown = shown(&host);
    assert!(shown.len() >= 2, "{shown:#?}");
    assert!(
        shown[0].starts_with("[····················] 0 rows · "),
        "{shown:#?}"
    );
}

#[tokio::test]
async fn a_waiting_query_shows_its_place() {
    let host = ScriptedHost::default();
    host.script(vec![
        (Duration::ZERO, QueryUpdate::Queued { place: 3 }),
        (Duration::from_millis(500), done(1, None)),
    ]);
    host.run("%%sql\nSELECT 1").await.unwrap();
    assert!(
        shown(&host)[0].starts_with("waiting, place 3 in the queue · "),
        "{:?}",
        shown(&host)
    );
}

#[tokio::test]
async fn a_cluster_that_takes_its_time_is_waited_for_in_the_same_line() {
    let host = ScriptedHost::default();
    host.attach_after(Duration::from_millis(700));
    host.run("%%sql\nSELECT 1").await.unwrap();
    let shown = shown(&host);
    assert!(shown.len() >= 2, "{shown:#?}");
    assert!(
        shown[0].starts_with("connecting to the cluster · "),
        "{shown:#?}"
    );
    assert!(
        shown.last().unwrap().starts_with("3 rows in "),
        "{shown:#?}"
    );
}

#[tokio::test]
async fn magics_that_ask_the_cluster_tell_that_they_wait_for_it() {
    for cell in ["%engines", "%jobs", "%%sql\nDROP VIEW v"] {
        let host = ScriptedHost::default();
        host.attach_after(Duration::from_millis(600));
        host.run(cell).await.unwrap();
        let shown = shown(&host);
        let (first, last) = (&shown[0], &shown[shown.len() - 1]);
        assert!(first.starts_with("connecting to the cluster · "), "{first}");
        assert!(last.starts_with("connected after "), "{last}");
    }
}

#[tokio::test]
async fn a_definition_that_takes_its_time_is_told() {
    let host = ScriptedHost::default();
    host.define_after(Duration::from_millis(700));
    host.run("%%sql v --lazy\nSELECT 1").await.unwrap();
    let shown = shown(&host);
    assert!(shown.len() >= 2, "{shown:#?}");
    assert!(shown[0].starts_with("planning · "), "{shown:#?}");
    assert!(
        shown.last().unwrap().starts_with("planned after "),
        "{shown:#?}"
    );
}

#[tokio::test]
async fn an_interrupt_ends_the_wait_for_a_cluster() {
    let host = ScriptedHost::default();
    host.attach_after(Duration::from_secs(3600));
    let interrupt = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        host.cancellation.cancel();
    };
    let started = std::time::Instant::now();
    let (outcome, ()) = tokio::join!(host.run("%%sql\nSELECT 1"), interrupt);
    assert_eq!(outcome.unwrap_err().code, ErrorCode::Cancelled);
    assert!(started.elapsed() < Duration::from_millis(100 + 500));
}

#[tokio::test]
async fn an_interrupt_ends_the_query_at_once() {
    let host = ScriptedHost::default();
    host.script(vec![(Duration::from_secs(3600), done(1, None))]);
    let interrupt = async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        host.cancellation.cancel();
    };
    let started = std::time::Instant::now();
    let (outcome, ()) = tokio::join!(host.run("%%sql\nSELECT 1"), interrupt);
    let fault = outcome.unwrap_err();
    assert_eq!(fault.code, ErrorCode::Cancelled);
    assert!(started.elapsed() < Duration::from_millis(600 + 500));
    assert!(
        fault.message.starts_with("the cell was interrupted after "),
        "{}",
        fault.message
    );
    assert_eq!(host.dropped_queries(), 1);
    assert!(shown(&host).last().unwrap().starts_with("cancelled after "));
}

#[tokio::test]
async fn updates_keep_their_distance_whatever_the_clock() {
    use bireme_magics::display::progress::{INTERVAL, Pace};
    let started = std::time::Instant::now();
    let mut pace = Pace::new(started, Duration::from_millis(400));
    let due: Vec<u64> = (0..2_000)
        .step_by(10)
        .filter(|after| pace.is_due(started + Duration::from_millis(*after)))
        .collect();
    assert_eq!(due, [400, 650, 900, 1150, 1400, 1650, 1900]);
    assert_eq!(INTERVAL, Duration::from_millis(250));
}
