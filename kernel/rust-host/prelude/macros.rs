// Put before every cell, with what `kernel/api/src/cell.rs` says as the module `__bireme`.
#[doc(hidden)]
#[macro_export]
macro_rules! __bireme_tail {
    ($value:expr) => {
        match &$value {
            value => {
                #[allow(unused_imports)]
                use $crate::__bireme::{ShowDebug as _, ShowType as _};
                $crate::__bireme::tail("begin");
                (&*value).evcxr_display();
                $crate::__bireme::tail("end");
            }
        }
    };
}
#[doc(hidden)]
#[macro_export]
macro_rules! __bireme_print {
    ($($text:tt)*) => {{ ::std::print!($($text)*); $crate::__bireme::flush() }};
}
#[doc(hidden)]
#[macro_export]
macro_rules! __bireme_eprintln {
    ($format:tt, $value:ident) => {{
        let text = ::std::format!($format, $value);
        if !$crate::__bireme::told_error(::std::any::type_name_of_val(&|| ()), &text) {
            ::std::eprintln!("{}", text);
        }
    }};
    ($($text:tt)*) => { ::std::eprintln!($($text)*) };
}
use crate::__bireme_print as print;
use crate::__bireme_eprintln as eprintln;
#[doc(hidden)]
mod __bireme_wait {
    pub use crate::__bireme::here;
}
