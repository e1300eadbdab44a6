//! What the kernel says of itself and its language.

use bireme_jupyter::wire::{HelpLink, KernelInfo, LanguageInfo};

/// The oldest compiler that cells are compiled with: told until the one in use is known.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// Answers `kernel_info_request`; `rustc` is the compiler's version line, once it is known.
pub(crate) fn kernel_info(rustc: Option<&str>) -> KernelInfo {
    let version = rustc.and_then(|line| line.split_whitespace().nth(1));
    let language = LanguageInfo {
        name: "rust".to_owned(),
        version: version.unwrap_or(RUST_VERSION).to_owned(),
        mimetype: "text/rust".to_owned(),
        file_extension: ".rs".to_owned(),
        pygments_lexer: "rust".to_owned(),
        codemirror_mode: "rust".to_owned(),
        nbconvert_exporter: String::new(),
    };
    let own = env!("CARGO_PKG_VERSION");
    KernelInfo {
        banner: format!("Bireme {own}: Rust, and SQL on ranks of engines. %help lists the magics."),
        help_links: [
            (
                "DataFusion SQL",
                "https://datafusion.apache.org/user-guide/sql/index.html",
            ),
            ("Rust standard library", "https://doc.rust-lang.org/std/"),
        ]
        .map(|(text, url)| HelpLink {
            text: text.to_owned(),
            url: url.to_owned(),
        })
        .to_vec(),
        ..KernelInfo::new("bireme", own, language)
    }
}
