//! The plans of all 22 TPC-H queries on three engines, as files beside this one. Set
//! `BIREME_UPDATE_PLANS=1` to write them anew, and read what changed.

use crate::cluster::TestCluster;
use crate::tpch;
use bireme_workloads::tpch_queries;
use datafusion_distributed::display_plan_ascii;
use std::path::Path;

/// The plan without what differs between machines and builds.
fn normalized(text: &str, data: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace(data.trim_start_matches('/'), "DATA");
        // Byte ranges and statistics of files follow from their bytes, not from the plan.
        match line.find("file_groups={") {
            Some(start) => {
                let end = line[start..]
                    .find("]]}")
                    .map_or(line.len(), |at| start + at + 3);
                format!("{}files{}", &line[..start], &line[end..])
            }
            None => line,
        }
    });
    let kept = lines.filter(|line| {
        let variant = line.trim_start_matches([' ', '│']);
        !variant.starts_with("t1: ") && !variant.starts_with("t2: ")
    });
    kept.map(|line| line.trim_end().to_string() + "\n")
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_is_one_stage_of_three_tasks() {
    let data = tpch::data().display().to_string();
    let cluster = TestCluster::new(3);
    let folder = Path::new("tests/operators/plans");
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of this test, not a setting"
    )]
    let update = std::env::var("BIREME_UPDATE_PLANS").is_ok();
    let mut differ = Vec::new();
    for (number, sql) in tpch_queries() {
        let (context, _) = cluster.session(0, &[]);
        tpch::register(&context);
        let frame = context.sql(sql).await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let text = normalized(&display_plan_ascii(plan.as_ref(), false), &data);
        let stages = text.matches("┌───── Stage").count();
        assert_eq!(stages, 1, "Q{number}:\n{text}");
        let file = folder.join(format!("q{number:02}.txt"));
        if update {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        } else if std::fs::read_to_string(&file).unwrap_or_default() != text {
            differ.push(format!("Q{number} is now\n{text}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
