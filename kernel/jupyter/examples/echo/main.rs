//! The smallest kernel: `echo -f CONNECTION_FILE`. What a real one adds is its language.

mod language;

use std::path::Path;
use std::sync::Arc;

use bireme_jupyter::{BoundSockets, ConnectionFile, ExitReason, ServeOptions, serve};

use language::Echo;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args()
        .skip_while(|argument| argument != "-f")
        .nth(1);
    let file = file.ok_or("usage: echo -f CONNECTION_FILE")?;
    // Bound before anything else: clients may connect from now on.
    let sockets = BoundSockets::bind(&ConnectionFile::read(Path::new(&file))?).await?;
    let parent_pid = std::env::var_os("JPY_PARENT_PID")
        .and_then(|pid| pid.to_str().and_then(|pid| pid.parse().ok()));
    let options = ServeOptions {
        parent_pid,
        ..ServeOptions::default()
    };
    match serve(sockets, Arc::new(Echo::default()), options).await? {
        ExitReason::Shutdown { .. } | ExitReason::Stopped => Ok(()),
        ExitReason::ParentDied => Err("the parent process died".into()),
    }
}
