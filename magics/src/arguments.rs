//! The arguments of one call, read from its first line and checked against the declaration.
//!
//! Words are split at white space; quotes keep white space. What follows the arguments is never
//! split, so SQL and Rust may contain any quotes, dashes and colons.

use std::time::Duration;

use bireme_protocol::{ErrorCode, Fault, Position};

use crate::magic::{BodyKind, Flag, Form, Spec, ValueKind};
use crate::nearest::nearest;

/// The arguments of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    given: Vec<Given>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    name: &'static str,
    value: String,
    position: Position,
}

impl Arguments {
    /// Whether a switch or a value is given.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// A value as typed, without its quotes.
    pub fn text(&self, name: &str) -> Option<&str> {
        let given = self.given.iter().find(|given| given.name == name)?;
        Some(&given.value)
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Option<u64> {
        self.text(name)?.replace('_', "").parse().ok()
    }

    /// A time.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        bireme_settings::parse_duration(self.text(name)?)
    }

    /// Where an argument stands in the cell.
    pub fn position(&self, name: &str) -> Option<Position> {
        let given = self.given.iter().find(|given| given.name == name)?;
        Some(given.position)
    }
}

/// The rest of a call's first line, and where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Rest<'a> {
    pub text: &'a str,
    pub line: u32,
    pub column: u32,
}

/// Reads arguments; gives them with what is left of the line for a body.
pub(crate) fn read<'a>(
    spec: &'static Spec,
    form: Form,
    rest: Rest<'a>,
) -> Result<(Arguments, Rest<'a>), Fault> {
    let mut reader = Reader {
        spec,
        form,
        rest,
        arguments: Arguments::default(),
        positionals: 0,
    };
    reader.read()?;
    Ok((reader.arguments, reader.rest))
}

struct Reader<'a> {
    spec: &'static Spec,
    form: Form,
    rest: Rest<'a>,
    arguments: Arguments,
    positionals: usize,
}

struct Word {
    text: String,
    raw: String,
    position: Position,
    is_quoted: bool,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), Fault> {
        loop {
            self.skip_white();
            if self.rest.text.is_empty() || self.at_comment() {
                break;
            }
            if self.at_flag() {
                self.flag()?;
            } else if self.has_line_body() && !self.at_name_arrow() {
                return Ok(());
            } else {
                self.positional()?;
            }
        }
        if !self.has_line_body() {
            self.advance(self.rest.text.len());
        }
        self.require_positionals()
    }

    fn has_line_body(&self) -> bool {
        self.form == Form::Line && self.spec.body != BodyKind::None
    }

    /// `-- words`: a SQL comment ends the arguments of a cell.
    fn at_comment(&self) -> bool {
        let text = self.rest.text;
        text == "--"
            || text
                .strip_prefix("--")
                .is_some_and(|rest| rest.starts_with(char::is_whitespace))
    }

    /// A dash before a digit is a number's; before code of a line it is the code's.
    fn at_flag(&self) -> bool {
        let Some(after) = self.rest.text.strip_prefix('-') else {
            return false;
        };
        let is_code = self.has_line_body() && self.spec.body == BodyKind::Code;
        match is_code {
            true => after.starts_with('-') && !self.spec.flags.is_empty(),
            false => !after.starts_with(|c: char| c.is_ascii_digit()),
        }
    }

    /// `name <<` before the body of a line.
    fn at_name_arrow(&self) -> bool {
        let name: usize = self
            .rest
            .text
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .map(char::len_utf8)
            .sum();
        name > 0
            && self.positionals < self.spec.positionals.len()
            && self.rest.text[name..].trim_start().starts_with("<<")
    }

    fn flag(&mut self) -> Result<(), Fault> {
        let word = self.word()?;
        let (name, inline) = match word.text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (word.text.as_str(), None),
        };
        let length = name.chars().count() as u32;
        let position = Position {
            length,
            ..word.position
        };
        let flag = self.find_flag(name, position)?;
        if self.arguments.has(flag.name) {
            return Err(usage(format!("{name} is given twice"), position));
        }
        let value = match (flag.value, inline) {
            (None, None) => String::new(),
            (None, Some(value)) => {
                let message = format!("{name} takes no value, and {value:?} was given");
                return Err(usage(message, position));
            }
            (Some(kind), inline) => self.flag_value(flag, kind, inline, position)?,
        };
        self.arguments.given.push(Given {
            name: flag.name,
            value,
            position,
        });
        Ok(())
    }

    fn find_flag(&self, name: &str, position: Position) -> Result<&'static Flag, Fault> {
        let title = self.title();
        let bare = name.trim_start_matches('-');
        let found = self
            .spec
            .flags
            .iter()
            .find(|flag| name == format!("--{}", flag.name));
        match found {
            Some(flag) if flag.is_later => {
                let message = format!("{title} {name} is not built yet");
                Err(usage(message, position).with_hint(self.flags_hint()))
            }
            Some(flag) => Ok(flag),
            None => {
                let known = self
                    .spec
                    .flags
                    .iter()
                    .filter(|f| !f.is_later)
                    .map(|f| f.name);
                let hint = match nearest(bare, known) {
                    Some(flag) => format!("did you mean --{flag}?"),
                    None => self.flags_hint(),
                };
                Err(usage(format!("{title} has no flag {name}"), position).with_hint(hint))
            }
        }
    }

    fn flags_hint(&self) -> String {
        let flags: Vec<_> = self
            .spec
            .flags
            .iter()
            .filter(|flag| !flag.is_later)
            .map(|flag| format!("--{}", flag.name))
            .collect();
        let title = self.title();
        if flags.is_empty() {
            return format!("{title} takes no flags; {title}? shows help");
        }
        format!("{title} takes {}; {title}? shows help", flags.join(", "))
    }

    fn flag_value(
        &mut self,
        flag: &Flag,
        kind: ValueKind,
        inline: Option<String>,
        flag_position: Position,
    ) -> Result<String, Fault> {
        let (value, position) = match inline {
            Some(value) => {
                let skipped = flag_position.length + 1;
                let length = (value.chars().count() as u32).max(1);
                let column = flag_position.column + skipped;
                (
                    value,
                    Position {
                        column,
                        length,
                        ..flag_position
                    },
                )
            }
            None => {
                self.skip_white();
                let next_is_flag = self.rest.text.starts_with("--");
                if self.rest.text.is_empty() || next_is_flag {
                    let placeholder = kind.placeholder();
                    let message = format!("--{} needs a value: {placeholder}", flag.name);
                    return Err(usage(message, flag_position));
                }
                let word = self.word()?;
                (word.text, word.position)
            }
        };
        match kind.reject(&value) {
            None => Ok(value),
            Some(reason) => Err(reject(
                usage(format!("--{}: {reason}", flag.name), position),
                kind,
                &value,
            )),
        }
    }

    fn positional(&mut self) -> Result<(), Fault> {
        let Some(positional) = self.spec.positionals.get(self.positionals) else {
            let word = self.word()?;
            if self.positionals > 0 && word.text == "<<" && !word.is_quoted {
                return Ok(());
            }
            return Err(self.unexpected(&word));
        };
        let mut word = self.word()?;
        let is_sql_name = matches!(positional.kind, ValueKind::NewName | ValueKind::Table);
        if is_sql_name && word.raw.starts_with('"') {
            word.text.clone_from(&word.raw);
        }
        if let Some(reason) = positional.kind.reject(&word.text) {
            let fault = usage(format!("{}: {reason}", positional.name), word.position);
            return Err(reject(fault, positional.kind, &word.text));
        }
        self.arguments.given.push(Given {
            name: positional.name,
            value: word.text,
            position: word.position,
        });
        self.positionals += 1;
        self.skip_white();
        if self.rest.text.starts_with("<<") && positional.kind == ValueKind::NewName {
            self.advance(2);
        }
        Ok(())
    }

    fn unexpected(&self, word: &Word) -> Fault {
        let title = self.title();
        let fault = usage(
            format!("{title} does not take {:?} here", word.text),
            word.position,
        );
        if self.form == Form::Cell && self.spec.body != BodyKind::None {
            let line = match self.spec.forms.has(Form::Line) {
                true => format!("; %{} takes it on one line", self.spec.name),
                false => String::new(),
            };
            return fault.with_hint(format!(
                "the {} starts on the next line{line}",
                self.spec.body.placeholder()
            ));
        }
        fault.with_hint(format!("{title}? shows what it takes"))
    }

    fn require_positionals(&self) -> Result<(), Fault> {
        match self.spec.positionals.get(self.positionals) {
            Some(missing) if missing.is_required => {
                let position = Position {
                    line: self.rest.line,
                    column: self.rest.column,
                    length: 1,
                };
                let message = format!("{} needs {}: {}", self.title(), missing.name, missing.doc);
                Err(usage(message, position))
            }
            _ => Ok(()),
        }
    }

    fn title(&self) -> String {
        format!("{}{}", self.form.prefix(), self.spec.name)
    }

    fn skip_white(&mut self) {
        let trimmed = self.rest.text.trim_start();
        self.advance(self.rest.text.len() - trimmed.len());
    }

    fn advance(&mut self, bytes: usize) {
        let (taken, left) = self.rest.text.split_at(bytes);
        self.rest.column += taken.chars().count() as u32;
        self.rest.text = left;
    }

    /// Takes one word: to the next white space outside quotes.
    fn word(&mut self) -> Result<Word, Fault> {
        let start = self.rest.column;
        let mut text = String::new();
        let mut quote = None;
        let mut is_quoted = false;
        let mut end = self.rest.text.len();
        for (at, character) in self.rest.text.char_indices() {
            match (quote, character) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), c) => text.push(c),
                (None, '"' | '\'') => {
                    quote = Some(character);
                    is_quoted = true;
                }
                (None, c) if c.is_whitespace() => {
                    end = at;
                    break;
                }
                (None, c) => text.push(c),
            }
        }
        let length = (self.rest.text[..end].chars().count() as u32).max(1);
        let position = Position {
            line: self.rest.line,
            column: start,
            length,
        };
        if let Some(open) = quote {
            return Err(usage(format!("the quote {open} is not closed"), position));
        }
        let raw = self.rest.text[..end].to_string();
        self.advance(end);
        Ok(Word {
            text,
            raw,
            position,
            is_quoted,
        })
    }
}

fn usage(message: String, position: Position) -> Fault {
    Fault::new(ErrorCode::InvalidArgument, message).at(position)
}

fn reject(fault: Fault, kind: ValueKind, value: &str) -> Fault {
    let suggestion = match kind {
        ValueKind::Choice(words) => nearest(value, words.iter().copied()),
        ValueKind::Count => return fault.with_hint("leave it out for its default"),
        _ => None,
    };
    match suggestion {
        Some(word) => fault.with_hint(format!("did you mean {word}?")),
        None => fault,
    }
}
