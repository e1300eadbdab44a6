//! Connections from this engine to its peers' data planes, one per peer, made at first use.

use async_trait::async_trait;
use bireme_protocol::Address;
use datafusion::error::{DataFusionError, Result};
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, WorkerChannel};
use parking_lot::Mutex;
use std::collections::HashMap;
use url::Url;

/// Finds the channel to a peer by its URL.
#[derive(Default)]
pub(crate) struct PeerChannels {
    open: Mutex<HashMap<Url, BoxCloneSyncChannel>>,
}

impl PeerChannels {
    /// Forgets all connections: engines have come or gone.
    pub(crate) fn clear(&self) {
        self.open.lock().clear();
    }
}

#[async_trait]
impl ChannelResolver for PeerChannels {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>> {
        if let Some(channel) = self.open.lock().get(url) {
            return Ok(create_worker_client(channel.clone()));
        }
        let address: Address = url
            .as_str()
            .parse()
            .map_err(|fault| DataFusionError::External(Box::new(fault)))?;
        let channel = BoxCloneSyncChannel::new(address.connect_lazily());
        self.open.lock().insert(url.clone(), channel.clone());
        Ok(create_worker_client(channel))
    }
}
