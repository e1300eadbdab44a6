//! An engine for the tests of this crate: rank 0 of a cluster of one, in this process, in a
//! directory of its own.

use crate::engine::{Engine, EngineOptions};
use bireme_protocol::proto::{EngineAddress, Topology};
use bireme_settings::{Home, Settings};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// The directory goes with it.
pub(crate) struct TestEngine {
    pub(crate) engine: Arc<Engine>,
    directory: PathBuf,
}

impl TestEngine {
    /// An engine on the current tokio runtime. Each test has a name of its own.
    pub(crate) fn new(name: &str) -> Self {
        let directory = directory(name);
        let options = EngineOptions {
            home: Home::at(&directory).unwrap(),
            settings: Settings::default(),
            rank: 0,
            engines: 1,
        };
        let engine = Engine::new(options, Handle::current()).unwrap();
        let only = EngineAddress {
            rank: 0,
            address: engine.address().to_string(),
        };
        engine.set_topology(&Topology {
            version: 1,
            engines: vec![only],
            wanted: 1,
            lost: Vec::new(),
        });
        Self { engine, directory }
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        // What is still removing files of its own may be faster.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// An empty directory's path, for a test of this name in this process.
pub(crate) fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bireme-engine-{name}-{}", std::process::id()))
}
