//! The launcher's gRPC service: decodes, asks the loop, answers.

use crate::controller_link::ControllerLink;
use crate::run::ENGINES_MAX;
use bireme_protocol::build_id;
use bireme_protocol::proto::launcher_server::Launcher;
use bireme_protocol::proto::{
    Empty, Hello, HelloReply, Process, ProcessList, ReadyReply, ScaleRequest, WaitReadyRequest,
};
use bireme_protocol::{ErrorCode, Fault};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response, Status};

/// Longest wait for the loop, which never blocks.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
/// Longest wait for queries on engines that shall go.
const DRAIN_DEADLINE: Duration = Duration::from_secs(600);
/// Longest wait for engines that shall come.
const GROW_DEADLINE: Duration = Duration::from_secs(20);
/// Longest wait for all processes to end: both grace periods and some slack.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What the service asks of the loop.
pub(crate) enum Command {
    Processes(oneshot::Sender<Vec<Process>>),
    Engines(oneshot::Sender<u32>),
    Scale(u32, oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// The service's side of the loop.
pub(crate) struct LauncherService {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) controller: ControllerLink,
    pub(crate) failure: watch::Receiver<Option<Fault>>,
}

impl LauncherService {
    async fn ask<T>(
        &self,
        limit: Duration,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Fault> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(command(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(limit, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Fault::new(
                ErrorCode::Unavailable,
                "ask the launcher: it ends",
            )),
            Err(_) => Err(Fault::new(
                ErrorCode::Unavailable,
                format!("ask the launcher: no answer in {limit:?}"),
            )),
        }
    }

    /// Waits for the engines, or for the first process that is given up.
    async fn wait(&self, engines: u32, limit: Duration) -> Result<(), Fault> {
        let mut failure = self.failure.clone();
        let failed = async {
            match failure.wait_for(Option::is_some).await {
                Ok(fault) => fault.clone(),
                Err(_) => None,
            }
        };
        tokio::select! {
            biased;
            fault = failed => Err(fault.unwrap_or_else(|| {
                Fault::new(ErrorCode::Unavailable, "wait for the cluster: it ends")
            })),
            ready = self.controller.wait_engines(engines, limit) => ready,
        }
    }

    async fn scale_to(&self, engines: u32) -> Result<(), Fault> {
        if engines == 0 || engines > ENGINES_MAX {
            return Err(Fault::new(
                ErrorCode::InvalidArgument,
                format!("scale to {engines} engines: a cluster has 1 to {ENGINES_MAX}"),
            ));
        }
        self.controller.resize(engines, DRAIN_DEADLINE).await?;
        let scale = |reply| Command::Scale(engines, reply);
        self.ask(ANSWER_DEADLINE, scale).await?;
        self.wait(engines, GROW_DEADLINE).await
    }
}

#[tonic::async_trait]
impl Launcher for LauncherService {
    async fn hello(&self, request: Request<Hello>) -> Result<Response<HelloReply>, Status> {
        let hello = request.into_inner();
        build_id::check(&hello.role, &hello.build_id)?;
        Ok(Response::new(HelloReply {
            build_id: build_id().to_string(),
            cluster_id: String::new(),
            pid: std::process::id(),
        }))
    }

    async fn processes(&self, _: Request<Empty>) -> Result<Response<ProcessList>, Status> {
        let processes = self.ask(ANSWER_DEADLINE, Command::Processes).await?;
        Ok(Response::new(ProcessList { processes }))
    }

    async fn wait_ready(
        &self,
        request: Request<WaitReadyRequest>,
    ) -> Result<Response<ReadyReply>, Status> {
        let limit = Duration::from_millis(request.into_inner().timeout_ms);
        let engines = self.ask(ANSWER_DEADLINE, Command::Engines).await?;
        self.wait(engines, limit).await?;
        Ok(Response::new(ReadyReply { engines }))
    }

    async fn scale(&self, request: Request<ScaleRequest>) -> Result<Response<Empty>, Status> {
        self.scale_to(request.into_inner().engines).await?;
        Ok(Response::new(Empty {}))
    }

    async fn stop(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.ask(STOP_DEADLINE, Command::Stop).await?;
        Ok(Response::new(Empty {}))
    }
}
