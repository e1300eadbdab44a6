// Takes the place of the module of the same name once a cell has brought tokio in: its timers and
// sockets need its runtime, also where they are made, and after their cell. One thread, so that cells
// keep their snapshots; one runtime for all cells, in the slot that they share.
#[doc(hidden)]
mod __bireme_wait {
    use ::tokio::runtime::{Builder, EnterGuard, Runtime};
    use std::any::TypeId;
    use std::sync::atomic::Ordering;

    #[repr(C)]
    struct Kept {
        kind: TypeId,
        runtime: Runtime,
    }

    fn runtime() -> &'static Runtime {
        let slot = crate::__bireme::slot();
        let kept = slot.map_or(std::ptr::null_mut(), |slot| slot.load(Ordering::Acquire));
        // SAFETY: null, or what a cell has put there below and nobody frees; all begin with the type.
        let kind = unsafe { kept.cast::<TypeId>().as_ref() };
        if kind == Some(&TypeId::of::<Runtime>()) {
            // SAFETY: the same type of the same build of tokio.
            return unsafe { &(*kept.cast::<Kept>()).runtime };
        }
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let kept: &'static mut Kept = Box::leak(Box::new(Kept { kind: TypeId::of::<Runtime>(), runtime }));
        if let Some(slot) = slot {
            slot.store(std::ptr::from_mut(kept).cast(), Ordering::Release);
        }
        &kept.runtime
    }

    pub struct Here(&'static Runtime, #[allow(dead_code)] EnterGuard<'static>);

    pub fn here() -> Here {
        let runtime = runtime();
        Here(runtime, runtime.enter())
    }

    impl Here {
        pub fn wait_for<F: std::future::IntoFuture>(self, future: F) -> F::Output {
            self.0.block_on(future.into_future())
        }
    }
}
