//! What to execute for each process of a cluster. The binary fills it in with itself; tests with
//! programs of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What makes glibc give freed memory back while queries run (mallopt(3)), but not the buffers of a scan
/// between two pages of a file: with 4 MiB and 1 MiB reading Parquet took a twelfth longer. At rest
/// engines give all of it back.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_TRIM_THRESHOLD_", "33554432"),
    ("MALLOC_MMAP_THRESHOLD_", "4194304"),
];

/// A program with its arguments and what it adds to the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessCommand {
    /// The program.
    pub program: PathBuf,
    /// What it is called in its own arguments, where people read it; `program` when absent.
    pub name: Option<OsString>,
    /// Its arguments, without the program's name.
    pub arguments: Vec<OsString>,
    /// Variables set on top of the launcher's environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl ProcessCommand {
    /// A program with arguments.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            name: None,
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
        }
    }

    /// The program this process runs, also when its file has been replaced meanwhile, under the
    /// name `name`: whoever starts it talks to the build it is of itself.
    pub fn of_this_process<A: Into<OsString>>(
        name: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            name: Some(name.as_os_str().to_os_string()),
            ..Self::new("/proc/self/exe", arguments)
        }
    }

    /// Adds variables that the launcher's environment does not have.
    #[must_use]
    fn with_defaults(self, variables: &[(&str, &str)]) -> Self {
        let missing = variables
            .iter()
            .filter(|(name, _)| std::env::var_os(name).is_none());
        missing.fold(self, |command, (name, value)| {
            command.with_environment(name, value)
        })
    }

    /// Adds a variable to its environment.
    #[must_use]
    pub fn with_environment(
        mut self,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

type ControllerCommand = dyn Fn(u32) -> ProcessCommand + Send + Sync;
type EngineCommand = dyn Fn(u32, u32) -> ProcessCommand + Send + Sync;

/// How a launcher starts the controller and the engines.
pub struct ClusterCommands {
    controller: Box<ControllerCommand>,
    engine: Box<EngineCommand>,
}

impl ClusterCommands {
    /// Commands made by two functions: the controller of so many engines; an engine by its rank and
    /// the number of engines.
    pub fn new(
        controller: impl Fn(u32) -> ProcessCommand + Send + Sync + 'static,
        engine: impl Fn(u32, u32) -> ProcessCommand + Send + Sync + 'static,
    ) -> Self {
        Self {
            controller: Box::new(controller),
            engine: Box::new(engine),
        }
    }

    /// `NAME controller --engines N --listen-on-stdin` and `NAME engine --rank R --engines N`, both
    /// this process's program, with `BIREME_HOME`. The controller's standard input is its listening
    /// socket.
    pub fn of_this_process(name: &Path, home: &Path) -> Self {
        let (controller, engine) = (name.to_path_buf(), name.to_path_buf());
        let (controller_home, engine_home) = (home.to_path_buf(), home.to_path_buf());
        Self::new(
            move |engines| {
                let engines = engines.to_string();
                let arguments = ["controller", "--engines", &engines, "--listen-on-stdin"];
                ProcessCommand::of_this_process(&controller, arguments)
                    .with_environment("BIREME_HOME", &controller_home)
            },
            move |rank, engines| {
                let (rank, engines) = (rank.to_string(), engines.to_string());
                let arguments = ["engine", "--rank", &rank, "--engines", &engines];
                ProcessCommand::of_this_process(&engine, arguments)
                    .with_environment("BIREME_HOME", &engine_home)
                    .with_defaults(&ALLOCATOR)
            },
        )
    }

    pub(crate) fn controller(&self, engines: u32) -> ProcessCommand {
        (self.controller)(engines)
    }

    pub(crate) fn engine(&self, rank: u32, engines: u32) -> ProcessCommand {
        (self.engine)(rank, engines)
    }
}

impl std::fmt::Debug for ClusterCommands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterCommands")
    }
}
