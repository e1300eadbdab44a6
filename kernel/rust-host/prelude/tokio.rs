// Takes the place of the module of the same name once a cell has brought tokio in: its timers and
// sockets need its runtime, also where they are made. One thread, so that cells keep their snapshots.
#[doc(hidden)]
mod __bireme_wait {
    use ::tokio::runtime::{Builder, EnterGuard, Runtime};

    static RUNTIME: std::sync::LazyLock<Runtime> =
        std::sync::LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

    pub struct Here(#[allow(dead_code)] EnterGuard<'static>);

    pub fn here() -> Here {
        Here(RUNTIME.enter())
    }

    impl Here {
        pub fn wait_for<F: std::future::IntoFuture>(self, future: F) -> F::Output {
            RUNTIME.block_on(future.into_future())
        }
    }
}
