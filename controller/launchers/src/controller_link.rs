//! What the launcher tells the controller: how engines ended, and how many there shall be.

use bireme_protocol::proto::controller_client::ControllerClient;
use bireme_protocol::proto::{ExitReport, ResizeRequest, WaitEnginesRequest};
use bireme_protocol::{Address, ErrorCode, Fault};
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// Reports that wait for a controller that restarts.
pub(crate) const REPORTS_MAX: usize = 256;
/// How long one report may take, and how often it is tried: a restarting controller is waited for.
const REPORT_DEADLINE: Duration = Duration::from_secs(2);
const REPORT_ATTEMPTS: u32 = 5;
const REPORT_PAUSE: Duration = Duration::from_millis(50);
/// How much longer we wait than the controller was told to.
const ANSWER_SLACK: Duration = Duration::from_secs(1);

/// The controller, reached again after each of its restarts.
#[derive(Clone)]
pub(crate) struct ControllerLink {
    client: ControllerClient<Channel>,
}

impl ControllerLink {
    pub(crate) fn new(address: &Address) -> Self {
        Self {
            client: ControllerClient::new(address.connect_lazily()),
        }
    }

    /// Passes reports on, in order, until there are no more senders.
    pub(crate) async fn pass_reports(self, mut reports: mpsc::Receiver<ExitReport>) {
        while let Some(report) = reports.recv().await {
            self.pass_report(report).await;
        }
    }

    async fn pass_report(&self, report: ExitReport) {
        for _ in 0..REPORT_ATTEMPTS {
            let mut client = self.client.clone();
            let answer = client.report_exit(report.clone());
            match tokio::time::timeout(REPORT_DEADLINE, answer).await {
                Ok(Ok(_)) => return,
                Ok(Err(status)) => tracing::debug!(%status, "report of an exit is tried again"),
                Err(_) => tracing::debug!("report of an exit got no answer"),
            }
            tokio::time::sleep(REPORT_PAUSE).await;
        }
        tracing::warn!(rank = report.rank, how = %report.how, "the controller was not told how an engine ended");
    }

    /// Waits until so many engines are up. A controller that restarts meanwhile is asked again.
    pub(crate) async fn wait_engines(&self, engines: u32, limit: Duration) -> Result<(), Fault> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let request = WaitEnginesRequest {
                engines,
                timeout_ms: millis(left),
            };
            let mut client = self.client.clone();
            let answer = client.wait_engines(request);
            match tokio::time::timeout(left + ANSWER_SLACK, answer).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) if left.is_zero() => return Err(status.into()),
                Ok(Err(_)) => tokio::time::sleep(REPORT_PAUSE).await,
                Err(_) => {
                    return Err(Fault::new(
                        ErrorCode::Unavailable,
                        format!(
                            "wait for {engines} engines: no answer from the controller in {limit:?}"
                        ),
                    ));
                }
            }
        }
    }

    /// Tells how many engines there shall be; the ranks above are idle once it has answered.
    pub(crate) async fn resize(&self, engines: u32, limit: Duration) -> Result<(), Fault> {
        let request = ResizeRequest {
            engines,
            timeout_ms: millis(limit),
        };
        let mut client = self.client.clone();
        let answer = client.resize(request);
        match tokio::time::timeout(limit + ANSWER_SLACK, answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(status.into()),
            Err(_) => Err(Fault::new(
                ErrorCode::Unavailable,
                format!("scale to {engines} engines: no answer from the controller in {limit:?}"),
            )),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
