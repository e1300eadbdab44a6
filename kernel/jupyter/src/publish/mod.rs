//! Everything that goes out on IOPub: ordering, coalescing and pacing of streams (`lanes`), the
//! rates that front ends accept (`rate`), who listens and what each may still be owed
//! (`subscriber`), and the one door to it all (`publisher`).

mod lanes;
mod publisher;
mod rate;
mod subscriber;
mod text;

pub(crate) use publisher::Publisher;
pub use rate::StreamLimits;
pub(crate) use subscriber::SubscriberId;
