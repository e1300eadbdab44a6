//! Every magic, once. Help, completion, the docs page and the tests derive from [`REGISTRY`].

use crate::cell::sql::Sql;
use crate::cell::time::Time;
use crate::line::{
    attach, cancel, clear, cluster, config, engines, explain, frames, gather, help, history,
};
use crate::line::{jobs, memory, param, persist, restart, scatter, show, trace};
use crate::magic::{Form, Magic};
use crate::nearest;

/// Every magic, in the order help lists them.
pub static REGISTRY: &[&'static dyn Magic] = &[
    &Sql,
    &show::Show,
    &persist::Persist,
    &scatter::Scatter,
    &gather::Gather,
    &frames::Frames,
    &frames::Drop,
    &frames::Publish,
    &memory::Memory,
    &memory::Stats,
    &explain::Explain,
    &engines::Engines,
    &cluster::Cluster,
    &jobs::Jobs,
    &attach::Attach,
    &cancel::Cancel,
    &history::History,
    &trace::Trace,
    &config::Config,
    &param::Param,
    &Time,
    &clear::Clear,
    &restart::Restart,
    &help::Help,
];

/// The magic of a name.
pub fn find(name: &str) -> Option<&'static dyn Magic> {
    REGISTRY
        .iter()
        .copied()
        .find(|magic| magic.spec().name == name)
}

/// The magic a mistyped name means, as it is written.
pub(crate) fn nearest(name: &str, form: Form) -> Option<String> {
    let names = REGISTRY.iter().map(|magic| magic.spec().name);
    let magic = find(nearest::nearest(name, names)?)?;
    let form = match (magic.spec().forms.has(form), form) {
        (true, form) => form,
        (false, Form::Line) => Form::Cell,
        (false, Form::Cell) => Form::Line,
    };
    Some(format!("{}{}", form.prefix(), magic.spec().name))
}
