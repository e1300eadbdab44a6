//! Makes an engine let go of the tasks that have ended. datafusion-distributed keeps tasks, and
//! with them the build sides of their joins, in a cache that drops what was removed from it only
//! while it is used: an engine without a next query would hold the last one's memory.

use datafusion_distributed::{ExecuteTaskRequest, ProducerHead, TaskKey, Worker};
use std::time::Duration;

/// How often the cache is used. It tidies up at most every 300 ms, and what was removed is gone
/// after the third time: within a second.
const EVERY: Duration = Duration::from_millis(310);
/// How long one use may take.
const WITHIN: Duration = Duration::from_millis(20);

/// Lets go of the tasks of a worker that have ended, until it is dropped itself. It runs on the
/// runtime of queries: large build sides take a moment to free.
pub async fn release_ended_tasks(worker: Worker) {
    loop {
        tokio::time::sleep(EVERY).await;
        // Asking for a task that never comes is the one use of the cache open to us that leaves
        // nothing behind: one empty entry, the same each time. The answer would be an error.
        let nobodys = ExecuteTaskRequest {
            task_key: TaskKey {
                query_id: Default::default(),
                stage_id: usize::MAX,
                task_number: usize::MAX,
            },
            target_partition_start: 0,
            target_partition_end: 0,
            producer_head: ProducerHead::None,
        };
        let _ = tokio::time::timeout(WITHIN, worker.execute_task(nobodys)).await;
    }
}
