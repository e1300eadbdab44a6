//! How a cell reports panics and failed `?`, prints at once, and shows the value of its last
//! expression. Until this crate is compiled its text is part of every cell, so it depends on
//! nothing and is short; from then on cells take it from here, compiled.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

static REPORT: AtomicI32 = AtomicI32::new(-1);
static SLOT: AtomicPtr<AtomicPtr<()>> = AtomicPtr::new(std::ptr::null_mut());
const SHOWN_BYTES: usize = 64 << 10;
const CALLS: usize = 256;

#[unsafe(no_mangle)]
pub extern "C" fn bireme_cell_begin(report: i32, slot: *const AtomicPtr<()>) {
    REPORT.store(report, Ordering::Relaxed);
    SLOT.store(slot.cast_mut(), Ordering::Relaxed);
    let cell = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        let message = match panic.payload().downcast_ref::<&str>() {
            Some(text) => text,
            None => panic
                .payload()
                .downcast_ref::<String>()
                .map_or("Box<dyn Any>", |text| text.as_str()),
        };
        let (file, line, column) = panic
            .location()
            .map_or(("", 0, 0), |at| (at.file(), at.line(), at.column()));
        let thread = std::thread::current();
        if thread.id() == cell {
            let message = told(message);
            let calls = panic.location().map(calls).unwrap_or_default();
            let (of_file, of_message) = (file.len(), message.len());
            let head = format!(
                "panic {line} {column} {of_file} {of_message} {}\n",
                calls.len()
            );
            report_bytes(&[&head, file, &message, &calls].concat());
        } else {
            let name = thread.name().unwrap_or("without a name");
            std::eprintln!("the thread {name} panicked: {message}");
        }
    }));
}

#[repr(C)]
struct Loaded {
    file: *const std::ffi::c_char,
    base: *const std::ffi::c_void,
    symbol: *const std::ffi::c_char,
    address: *const std::ffi::c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const std::ffi::c_void, found: *mut Loaded) -> std::ffi::c_int;
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut std::ffi::c_void, *mut std::ffi::c_void) -> std::ffi::c_int,
        found: *mut std::ffi::c_void,
    ) -> std::ffi::c_int;
    fn _Unwind_GetIP(frame: *mut std::ffi::c_void) -> usize;
}

/// The loaded file an address is in, and where in it.
fn library(address: usize) -> Option<(usize, String)> {
    let mut found = std::mem::MaybeUninit::<Loaded>::uninit();
    let at = std::ptr::without_provenance(address);
    // SAFETY: any address may be asked for, and the answer goes where there is room for it.
    let is_found = unsafe { dladdr(at, found.as_mut_ptr()) } != 0;
    // SAFETY: it was written.
    let found = is_found.then(|| unsafe { found.assume_init() })?;
    let is_named = !found.file.is_null();
    // SAFETY: a name that ends with a zero, there as long as the file; cells are never unloaded.
    let file = is_named.then(|| unsafe { std::ffi::CStr::from_ptr(found.file) })?;
    Some((address - found.base.addr(), file.to_str().ok()?.to_string()))
}

extern "C" fn note_call(
    frame: *mut std::ffi::c_void,
    found: *mut std::ffi::c_void,
) -> std::ffi::c_int {
    // SAFETY: the caller gives the list that it was given, which nobody else has meanwhile.
    let found = unsafe { &mut *found.cast::<Vec<usize>>() };
    // SAFETY: the caller gives a frame of its own.
    found.push(unsafe { _Unwind_GetIP(frame) });
    // Goes on at 0. A cell that has called itself without end is told by its latest calls.
    std::ffi::c_int::from(found.len() >= CALLS)
}

/// The library a panic's location was compiled into, and for one in no cell the calls that led there, the
/// latest first: where in which library of a cell, a line each.
fn calls(location: &std::panic::Location<'_>) -> String {
    let within = library(std::ptr::from_ref(location).addr());
    let mut told = within.map(|(_, file)| file).unwrap_or_default();
    if location.file() == "src/lib.rs" {
        return told;
    }
    let mut found = Vec::<usize>::with_capacity(CALLS);
    // SAFETY: walks the stack of this thread, each frame of which is told to the function with the list.
    unsafe { _Unwind_Backtrace(note_call, (&raw mut found).cast()) };
    // What is noted is where a call returns to, which may be another line.
    for (at, file) in found.iter().filter_map(|at| library(at.wrapping_sub(1))) {
        let name = file.rsplit('/').next().unwrap_or("");
        if name.starts_with("libcode_") {
            let _ = write!(told, "\n{at:x} {file}");
        }
    }
    told
}

#[unsafe(no_mangle)]
pub extern "C" fn bireme_cell_end() {
    flush();
}

pub struct Here;

pub fn here() -> Here {
    Here
}

impl Here {
    pub fn wait_for<F: std::future::IntoFuture>(self, future: F) -> F::Output {
        wait_for(future)
    }
}

fn wait_for<F: std::future::IntoFuture>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future.into_future());
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

pub fn slot() -> Option<&'static AtomicPtr<()>> {
    // SAFETY: null, or what the cell host has for all its life.
    unsafe { SLOT.load(Ordering::Relaxed).as_ref() }
}

pub fn flush() {
    let _ = std::io::stdout().flush();
}

/// The beginning of a text that is told or shown, all of it if it is short.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

/// A message as it is told: a cell waits until all of it is read.
fn told(text: &str) -> String {
    let told = cut(text, SHOWN_BYTES);
    match text.len() - told.len() {
        0 => told.to_string(),
        rest => format!("{told}… ({rest} more bytes)"),
    }
}

fn report_error(text: &str) {
    let told = told(text);
    report_bytes(&format!("error {}\n{told}", told.len()));
}

fn report_bytes(text: &str) {
    use std::os::fd::FromRawFd;
    let report = REPORT.load(Ordering::Relaxed);
    if report >= 0 {
        // SAFETY: the cell host holds this descriptor open while cells run, and it is not closed here.
        let pipe = unsafe { std::fs::File::from_raw_fd(report) };
        let _ = std::mem::ManuallyDrop::new(pipe).write_all(text.as_bytes());
    }
}

pub fn told_error(place: &str, text: &str) -> bool {
    let told = place.contains("EvcxrUserCodeError");
    if told {
        report_error(text);
    }
    told
}

/// Fails the cell as a `?` would, once it has ended.
pub fn fail(text: &str) {
    report_error(text);
    let _ = std::io::stdout().write_all(b"EVCXR_ERROR_OCCURRED\n");
}

fn block(mime: &str, content: &str) {
    let text = format!("EVCXR_BEGIN_CONTENT {mime}\n{content}\nEVCXR_END_CONTENT\n");
    let _ = std::io::stdout().write_all(text.as_bytes());
}

pub fn tail(mark: &str) {
    block("application/vnd.bireme.tail", mark);
}

struct Limited(String);

impl std::fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let left = SHOWN_BYTES - self.0.len();
        self.0.push_str(cut(text, left));
        if text.len() > left {
            Err(std::fmt::Error)
        } else {
            Ok(())
        }
    }
}

pub trait ShowDebug {
    fn evcxr_display(&self);
}

impl<T: std::fmt::Debug + ?Sized> ShowDebug for &T {
    fn evcxr_display(&self) {
        if std::any::type_name::<T>() != "()" {
            show_debug(self);
        }
    }
}

// Compiled once, not with every cell.
fn show_debug(value: &dyn std::fmt::Debug) {
    let mut text = Limited(String::new());
    if write!(text, "{value:?}").is_err() {
        text.0.push_str(" …");
    }
    block("text/plain", &text.0);
}

pub trait ShowType {
    fn evcxr_display(&mut self);
}

impl<T: ?Sized> ShowType for &T {
    fn evcxr_display(&mut self) {
        show_type(std::any::type_name::<T>());
    }
}

fn show_type(name: &str) {
    block(
        "text/plain",
        &format!("<{name}: it has neither Debug nor evcxr_display>"),
    );
}
