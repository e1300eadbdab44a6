//! `kernel_info_request`: who we are.
//! <https://jupyter-client.readthedocs.io/en/stable/messaging.html#kernel-info>

use serde::{Deserialize, Serialize};

use super::PROTOCOL_VERSION;

/// The language of the cells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LanguageInfo {
    /// Its name; front ends and nbconvert compare it exactly.
    pub name: String,
    /// Its version.
    pub version: String,
    /// MIME type of a script.
    pub mimetype: String,
    /// Extension of a script, with the dot.
    pub file_extension: String,
    /// Pygments lexer.
    pub pygments_lexer: String,
    /// CodeMirror mode.
    pub codemirror_mode: String,
    /// nbconvert exporter; empty for the default.
    pub nbconvert_exporter: String,
}

/// An entry of the front end's Help menu.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HelpLink {
    /// What the menu shows.
    pub text: String,
    /// Where it leads.
    pub url: String,
}

/// What the kernel says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelInfo {
    /// Version of the messaging protocol.
    pub protocol_version: String,
    /// Name of the implementation.
    pub implementation: String,
    /// Its version.
    pub implementation_version: String,
    /// The language.
    pub language_info: LanguageInfo,
    /// What a console shows first.
    pub banner: String,
    /// Whether the debugger protocol is spoken.
    pub debugger: bool,
    /// Entries of the Help menu.
    pub help_links: Vec<HelpLink>,
    /// Optional parts of the protocol that this framework speaks.
    pub supported_features: Vec<String>,
}

impl KernelInfo {
    /// Describes a kernel; the protocol fields are the framework's.
    pub fn new(implementation: &str, version: &str, language_info: LanguageInfo) -> Self {
        Self {
            implementation: implementation.to_owned(),
            implementation_version: version.to_owned(),
            language_info,
            ..Self::default()
        }
    }
}

impl Default for KernelInfo {
    fn default() -> Self {
        Self {
            protocol_version: PROTOCOL_VERSION.to_owned(),
            implementation: String::new(),
            implementation_version: String::new(),
            language_info: LanguageInfo::default(),
            banner: String::new(),
            debugger: false,
            help_links: Vec::new(),
            supported_features: vec!["iopub_welcome".to_owned(), "kernel subshells".to_owned()],
        }
    }
}
