//! The IOPub socket: an XPUB server of our own, because delivery is what it is about.
//!
//! Each connection has a reader for subscriptions and a queue of its own, so that a listener that
//! stops reading delays nobody. What is queued for whom is decided in `publish`.

use std::sync::Arc;

use tokio::io::BufReader;

use super::accept::{Accepted, SocketTasks, serve_connections};
use super::peer_queue::PeerQueue;
use crate::publish::{Publisher, SubscriberId};
use crate::zmtp::{self, Listener, ReadHalf, Received, SocketType};

/// First byte of a message that subscribes.
const SUBSCRIBE: u8 = 1;
/// First byte of a message that cancels a subscription.
const UNSUBSCRIBE: u8 = 0;

/// Starts serving a listener.
pub(crate) fn start(tasks: &SocketTasks, listener: Listener, publisher: Arc<Publisher>) {
    let timer = Arc::clone(&publisher);
    let stop = tasks.stop.clone();
    tasks
        .tracker
        .spawn(stop.run_until_cancelled_owned(async move { timer.run_timer().await }));
    serve_connections(tasks, listener, SocketType::XPub, move |accepted| {
        serve(accepted, Arc::clone(&publisher))
    });
}

async fn serve(accepted: Accepted, publisher: Arc<Publisher>) {
    let Accepted {
        mut reader,
        mut writer,
        ..
    } = accepted;
    let queue = Arc::new(PeerQueue::new());
    let id = publisher.add_subscriber(Arc::clone(&queue));
    let ended = tokio::select! {
        ended = follow_subscriptions(&mut reader, &publisher, id, &queue) => ended,
        ended = queue.write_to(&mut writer) => ended,
    };
    tracing::debug!(?ended, "a front end left iopub");
    publisher.remove_subscriber(id);
    queue.close();
}

async fn follow_subscriptions(
    reader: &mut BufReader<ReadHalf>,
    publisher: &Publisher,
    id: SubscriberId,
    queue: &PeerQueue,
) -> std::io::Result<()> {
    loop {
        match zmtp::read(reader).await? {
            Received::Message(frames) => {
                let Some(frame) = frames.into_iter().next() else {
                    continue;
                };
                match frame.first() {
                    Some(&SUBSCRIBE) => publisher.subscribe(id, frame.slice(1..)),
                    Some(&UNSUBSCRIBE) => publisher.unsubscribe(id, &frame[1..]),
                    _ => tracing::debug!("a message on iopub is not a subscription"),
                }
            }
            Received::Command(command) => {
                if let Some(pong) = zmtp::pong(&command) {
                    queue.push_command(pong);
                }
            }
        }
    }
}
