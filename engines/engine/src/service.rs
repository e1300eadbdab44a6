//! An engine as a process: its runtimes and its two sockets. Control never shares threads with
//! queries.

use crate::control_service::Control;
use crate::engine::{Engine, EngineOptions};
use crate::error::EngineError;
use crate::flight_service::Rows;
use crate::housekeeping;
use crate::membership;
use crate::task_sessions::TaskSessions;
use arrow_flight::flight_service_server::FlightServiceServer;
use bireme_protocol::proto::engine_server::EngineServer;
use bireme_protocol::{Fault, address};
use datafusion_distributed::Worker;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// Stack of each thread: planning recurses with the depth of a statement. Only what is used is paid.
const STACK_BYTES: usize = 8 << 20;
/// Threads of the control runtime: answers, never queries.
const CONTROL_THREADS: usize = 1;

/// Runs an engine until it is told to stop.
///
/// # Errors
/// A directory, socket or runtime cannot be made.
pub fn run(options: EngineOptions, stop: &CancellationToken) -> Result<(), EngineError> {
    let rank = options.rank;
    let failed = |what: &str| {
        let what = what.to_string();
        move |source| EngineError::Start { rank, what, source }
    };
    let control =
        runtime("control", CONTROL_THREADS).map_err(failed("make the control runtime"))?;
    let threads = query_threads(&options);
    let queries = runtime("query", threads).map_err(failed("make the query runtime"))?;
    let refused = |fault: Fault| EngineError::Refused {
        rank,
        fault: Box::new(fault),
    };
    let engine = {
        let _on_queries = queries.enter();
        Engine::new(options, queries.handle().clone()).map_err(refused)?
    };
    let data_server = serve_data(&engine, &queries, stop.clone()).map_err(refused)?;
    control
        .block_on(serve_control(Arc::clone(&engine), stop.clone()))
        .map_err(refused)?;
    data_server.abort();
    // Queries that still run end with their runtime; nothing of theirs outlives the process.
    queries.shutdown_background();
    Ok(())
}

fn runtime(name: &str, threads: usize) -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(format!("bireme-{name}"))
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

fn query_threads(options: &EngineOptions) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let engines = usize::try_from(options.engines).unwrap_or(1).max(1);
    match usize::try_from(options.settings.integer("engine.threads")) {
        Ok(0) | Err(_) => (cores / engines).max(1),
        Ok(threads) => threads,
    }
}

fn serve_data(
    engine: &Arc<Engine>,
    queries: &Runtime,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, Fault> {
    let worker = Worker::from_session_builder(TaskSessions::new(engine))
        .with_runtime_env(engine.shared_runtime_env())
        .with_version(bireme_protocol::build_id());
    queries.spawn(bireme_operators::release_ended_tasks(worker.clone()));
    let _on_queries = queries.enter();
    let listener = engine.address().data_plane().listen()?;
    let server = Server::builder()
        .add_service(worker.into_worker_server())
        .add_service(FlightServiceServer::new(Rows::new(Arc::clone(engine))));
    let incoming = UnixListenerStream::new(listener);
    Ok(queries.spawn(async move {
        let served = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "the data plane ended");
        }
    }))
}

async fn serve_control(engine: Arc<Engine>, stop: CancellationToken) -> Result<(), Fault> {
    let listener = engine.address().listen()?;
    let service = EngineServer::new(Control::new(Arc::clone(&engine)))
        .max_decoding_message_size(address::MESSAGE_BYTES_MAX);
    let server = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(
            UnixListenerStream::new(listener),
            stop.clone().cancelled_owned(),
        );
    let (served, (), member) = tokio::join!(
        async {
            let served = server.await;
            stop.cancel();
            served
        },
        housekeeping::keep(Arc::clone(&engine), stop.clone()),
        membership::keep(engine, stop.clone()),
    );
    served.map_err(|error| Fault::internal("serve the control plane").with_sources(&error))?;
    member
}
