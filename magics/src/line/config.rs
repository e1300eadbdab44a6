//! `%config`: settings with type, unit, default and source; sets those of the session.

use async_trait::async_trait;
use bireme_protocol::{ErrorCode, Fault};
use bireme_settings::{Scope, Setting, TABLE};

use crate::display::listing;
use crate::host::Host;
use crate::magic::{Body, BodyKind, Call, Example, Flag, Forms, Magic, Spec};
use crate::mime_bundle::MimeBundle;
use crate::nearest::nearest;
use crate::text::{Piece, key_and_value};

/// `%config`.
#[derive(Debug)]
pub struct Config;

static SPEC: Spec = Spec {
    name: "config",
    forms: Forms::Line,
    summary: "Shows settings, or sets one for this session.",
    doc: "Values come, in rising precedence, from the defaults, `config.toml` in `BIREME_HOME`, the \
          environment, flags, and `%config` or `SET key = value`.",
    positionals: &[],
    flags: &[Flag::switch(
        "reset",
        "Take the setting back to what it was without `%config`.",
    )],
    body: BodyKind::Setting,
    examples: &[
        Example {
            cell: "%config",
            doc: "all settings",
        },
        Example {
            cell: "%config query",
            doc: "those whose key begins so",
        },
        Example {
            cell: "%config query.timeout 30s",
            doc: "set one",
        },
        Example {
            cell: "%config --reset query.timeout",
            doc: "unset it",
        },
    ],
};

#[async_trait]
impl Magic for Config {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    async fn run(&self, host: &dyn Host, call: &Call) -> Result<(), Fault> {
        let (key, value) = key_and_value(&call.body);
        match (key, value) {
            (None, _) => host.display(listing::settings(&host.settings(), "")),
            (Some(key), None) if call.arguments.has("reset") => {
                let setting = settable(&key, &call.body)?;
                set(host, setting, None).await?;
            }
            (Some(key), None) => show(host, &key, &call.body)?,
            (Some(key), Some(value)) => {
                let setting = settable(&key, &call.body)?;
                if let Some(reason) = setting.kind.reject(value.text) {
                    let message = format!("set {}: {reason}", setting.key);
                    return Err(fault(message, &value, &call.body));
                }
                set(host, setting, Some(value.text)).await?;
            }
        }
        Ok(())
    }
}

fn show(host: &dyn Host, key: &Piece<'_>, body: &Body) -> Result<(), Fault> {
    let prefix = key.text.trim_end_matches('*');
    if !TABLE.iter().any(|setting| setting.key.starts_with(prefix)) {
        return Err(unknown(key, body));
    }
    host.display(listing::settings(&host.settings(), prefix));
    Ok(())
}

fn settable(key: &Piece<'_>, body: &Body) -> Result<&'static Setting, Fault> {
    let setting = bireme_settings::find(key.text).ok_or_else(|| unknown(key, body))?;
    match setting.scope {
        Scope::Session => Ok(setting),
        Scope::Cluster => {
            let message = format!(
                "{} belongs to the cluster and is read when it starts",
                setting.key
            );
            let hint = "set it in config.toml of BIREME_HOME, then `bireme cluster restart`";
            Err(fault(message, key, body).with_hint(hint))
        }
    }
}

async fn set(host: &dyn Host, setting: &Setting, value: Option<&str>) -> Result<(), Fault> {
    let before = host.settings().get(setting.key).to_string();
    host.configure(setting.key, value).await?;
    let now = host.settings().get(setting.key).to_string();
    let line = match now == before {
        true => format!("{} = {now}", setting.key),
        false => format!("{} = {now} (was {before})", setting.key),
    };
    host.display(MimeBundle::plain(line));
    Ok(())
}

fn unknown(key: &Piece<'_>, body: &Body) -> Fault {
    let fault = fault(format!("there is no setting {:?}", key.text), key, body);
    match nearest(key.text, TABLE.iter().map(|setting| setting.key)) {
        Some(known) => fault.with_hint(format!("did you mean {known}?")),
        None => fault.with_hint("%config lists them all"),
    }
}

fn fault(message: String, piece: &Piece<'_>, body: &Body) -> Fault {
    Fault::new(ErrorCode::InvalidArgument, message).at(piece.position(body))
}
