//! The parser's events to a tree. YAML's traps are caught here, where they still can be seen.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
};

use granit_parser::{
    ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};

use super::{
    mend::{Mends, Patched, Repair, What},
    quote,
    tree::{Content, Entry, Node, Scalar, Style},
};
use crate::codes::Code;

/// Deepest nesting of lists and maps. JSON readers stop at 128, and the canonical form must be readable.
pub(super) const DEPTH_MAX: usize = 100;

/// A fault of the text itself, which has a span and no place in a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextFinding {
    pub code: Code,
    pub span: Range<usize>,
    pub message: String,
    pub label: String,
    pub help: Option<String>,
    /// The other place that has a part in it, and what stands there.
    pub also: Option<(Range<usize>, String)>,
}

/// What was read: the tree as far as the text could be parsed, and all that is wrong with the text.
pub(super) struct Read {
    pub tree: Option<Node>,
    pub findings: Vec<TextFinding>,
    /// Lines had to be left out, so that names may be defined that the tree does not hold.
    pub incomplete: bool,
}

/// Most errors of the parser that are repaired: each takes a pass over the text.
const REPAIRS_MAX: usize = 24;

/// Reads one document. Where the parser stops at an error, the text is repaired and read again.
pub(super) fn read(source: &str) -> Read {
    let mut mends = Mends::default();
    let mut told: Vec<TextFinding> = Vec::new();
    // How often a line was repaired without certainty.
    let mut tries_of: HashMap<usize, usize> = HashMap::new();
    let mut passes = 0;
    loop {
        let patched = mends.apply(source);
        let mut pass = pass(source, &patched, &mends);
        let Some((at, error)) = pass.error else {
            told.append(&mut pass.findings);
            // Of a text of which nothing is left to read, that it is empty is no second fault.
            let tree = pass.tree.filter(|tree| tree.content != Content::Empty);
            return Read {
                tree,
                findings: told,
                incomplete: mends.lose_lines(),
            };
        };
        let line_of = |at: usize| {
            let place = patched.original(&(at..at)).start;
            source
                .get(..place)
                .map_or(0, |text| text.matches('\n').count())
        };
        let tries = tries_of.get(&line_of(at)).copied().unwrap_or(0);
        let repair = patched.repair(&error, at, tries);
        passes += 1;
        if repair.certain || tries == 0 {
            told.push(of_repair(&error, &repair, &patched));
        }
        if !repair.certain {
            let changed: BTreeSet<usize> = repair.places().map(line_of).collect();
            for line in changed.into_iter().chain([line_of(at)]) {
                *tries_of.entry(line).or_default() += 1;
            }
        }
        let ended = passes >= REPAIRS_MAX;
        let beyond = matches!(error.kind(), ErrorKind::RecursionLimitExceeded);
        if beyond || ended || !mends.add(repair, &patched) {
            return Read {
                tree: None,
                findings: told,
                incomplete: true,
            };
        }
    }
}

fn of_repair(error: &ScanError, repair: &Repair, patched: &Patched) -> TextFinding {
    let span = patched.original(&repair.span);
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        return *finding(
            Code::S0008,
            span,
            &format!("nested more than {DEPTH_MAX} deep"),
        );
    }
    TextFinding {
        help: repair.help.clone(),
        also: repair
            .also
            .as_ref()
            .map(|(bytes, label)| (patched.original(bytes), label.clone())),
        ..*finding(Code::S0003, span, &repair.message)
    }
}

/// What one pass over the text found, and the parser's error at which it ended, with its byte of the patched text.
struct Pass {
    tree: Option<Node>,
    findings: Vec<TextFinding>,
    error: Option<(usize, ScanError)>,
}

fn pass(source: &str, patched: &Patched, mends: &Mends) -> Pass {
    let options = granit_parser::options! {
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: DEPTH_MAX,
        block_nesting_limit: DEPTH_MAX,
    };
    let mut reader = Reader {
        source,
        patched,
        mends,
        events: parser(&patched.text, options),
        findings: Vec::new(),
    };
    let (tree, error) = match reader.document() {
        Ok(tree) => (tree, None),
        Err(Stop::Fault(fault)) => {
            reader.findings.push(*fault);
            (None, None)
        }
        Err(Stop::Syntax(at, error)) => (None, Some((at, *error))),
    };
    Pass {
        tree,
        findings: reader.findings,
        error,
    }
}

fn parser(source: &str, mut options: Options) -> Parser<'_, StrInput<'_>> {
    options.set_emit_comments(false);
    Parser::new_from_str_with_options(source, options)
}

struct Reader<'a> {
    /// The author's text, which all spans speak of.
    source: &'a str,
    /// The text that is parsed.
    patched: &'a Patched,
    mends: &'a Mends,
    events: Parser<'a, StrInput<'a>>,
    findings: Vec<TextFinding>,
}

/// The text cannot be read further.
enum Stop {
    /// Nothing behind this would be of use.
    Fault(Box<TextFinding>),
    /// The parser's error, and its byte of the patched text.
    Syntax(usize, Box<ScanError>),
}

impl From<Box<TextFinding>> for Stop {
    fn from(fault: Box<TextFinding>) -> Self {
        Self::Fault(fault)
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Range<usize>, Span), Stop> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                let bytes = span.byte_range().unwrap_or(0..0);
                Ok((event, self.patched.original(&bytes), span))
            }
            Some(Err(error)) => {
                let at = error.marker().byte_offset().unwrap_or(0);
                Err(Stop::Syntax(at, Box::new(error)))
            }
            None => Err(finding(Code::S0003, 0..0, "the text ends too early").into()),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut tree = None;
        loop {
            let (event, bytes, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if tree.is_some() => {
                    let message = "a second document begins here";
                    let mut fault = finding(Code::S0007, bytes, message);
                    fault.help = Some("put each definition into a file of its own".to_owned());
                    self.findings.push(*fault);
                    break;
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                other => {
                    let node = self.node(other, bytes, &span, 0)?;
                    tree = Some(node);
                }
            }
        }
        let is_empty = tree
            .as_ref()
            .is_none_or(|node: &Node| node.content == Content::Empty);
        if is_empty && !self.mends.lose_lines() {
            let mut fault = finding(Code::S0007, 0..0, "the file is empty");
            fault.help = Some("begin with `saga: <name>` and `version: 1`".to_owned());
            return Err(fault.into());
        }
        Ok(tree)
    }

    fn node(
        &mut self,
        event: Event<'a>,
        bytes: Range<usize>,
        span: &Span,
        depth: usize,
    ) -> Result<Node, Stop> {
        if depth > DEPTH_MAX {
            return Err(finding(
                Code::S0008,
                bytes,
                &format!("nested more than {DEPTH_MAX} deep"),
            )
            .into());
        }
        let (tag, anchored) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (tag.as_deref().cloned(), *anchor != 0),
            _ => (None, false),
        };
        let node = match event {
            Event::Scalar(text, style, ..) => {
                if anchored {
                    self.anchor(tag.is_some())?;
                }
                self.scalar(&text, style, bytes)
            }
            Event::SequenceStart(..) => {
                if anchored {
                    self.anchor(tag.is_some())?;
                }
                self.list(bytes, depth)?
            }
            Event::MappingStart(..) => {
                if anchored {
                    self.anchor(tag.is_some())?;
                }
                self.map(bytes, depth)?
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let name = self.source.get(bytes.clone()).unwrap_or("*").to_owned();
                let mut fault = finding(
                    Code::S0005,
                    bytes.clone(),
                    &format!("`{name}` is a YAML alias"),
                );
                fault.help =
                    Some("write the value itself, or quote a text that begins with `*`".to_owned());
                self.findings.push(*fault);
                Node::whole(bytes, Content::Broken)
            }
            _ => return Err(finding(Code::S0003, bytes, "a value is missing here").into()),
        };
        Ok(match tag {
            Some(tag) => self.tagged(&tag, span, node),
            None => node,
        })
    }

    /// Takes the event that follows an anchored value's start.
    fn anchor(&mut self, reported: bool) -> Result<(), Stop> {
        let (event, bytes, _) = self.next()?;
        if let (Event::Anchor(_, name), false) = (event, reported) {
            let mut fault = finding(
                Code::S0005,
                bytes.clone(),
                &format!("`&{name}` is a YAML anchor"),
            );
            fault.help = Some("remove it, or quote a text that begins with `&`".to_owned());
            self.findings.push(*fault);
        }
        Ok(())
    }

    fn tagged(&mut self, tag: &Tag, span: &Span, node: Node) -> Node {
        let bytes = span
            .tag_span()
            .and_then(|span| span.byte_range())
            .map(|bytes| self.patched.original(&bytes))
            .unwrap_or(node.span.clone());
        let written = self
            .source
            .get(bytes.clone())
            .map_or_else(|| tag.original(), |text| text.trim().to_owned());
        let len = written.len();
        let mut fault = finding(
            Code::S0004,
            bytes.start..bytes.start + len,
            &format!("`{written}` is a YAML tag, and would be lost"),
        );
        fault.help = Some(match quote::suggestion(self.source, &bytes).as_str() {
            "" => "quote the whole value".to_owned(),
            suggestion => format!("quote the whole value{suggestion}"),
        });
        self.findings.push(*fault);
        Node::whole(bytes.start..node.span.end.max(bytes.end), Content::Broken)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, bytes: Range<usize>) -> Node {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
        };
        if style == Style::Plain && bytes.is_empty() {
            return Node::whole(bytes, Content::Empty);
        }
        let text = match self.mends.value(&bytes) {
            None => text,
            Some(What::Meant) => self.source.get(bytes.clone()).unwrap_or(text),
            Some(What::Unknown | What::Moved | What::Gone | What::Certain) => {
                return Node::whole(bytes, Content::Broken);
            }
        };
        if style == Style::Plain {
            self.comment_that_cuts(text, &bytes);
        }
        let text = text.to_owned();
        Node::whole(bytes, Content::Scalar(Scalar { text, style }))
    }

    /// `text: a ${x} # b`: in YAML ` #` ends the text. Two spaces before it, or a value that is one
    /// expression and nothing else, show that a comment was meant.
    fn comment_that_cuts(&mut self, text: &str, bytes: &Range<usize>) {
        let Some(after) = self.source.get(bytes.end..) else {
            return;
        };
        if !after.starts_with(" #") || !text.contains("${") {
            return;
        }
        let open = text.matches("${").count() > text.matches('}').count();
        let whole =
            text.starts_with("${") && text.ends_with('}') && text.matches("${").count() == 1;
        if open || !whole {
            let len = after.find(['\r', '\n']).unwrap_or(after.len());
            let span = bytes.end + 1..bytes.end + len;
            let mut fault = finding(Code::W0009, span, "a comment begins inside of this text");
            fault.label = "not part of the value".to_owned();
            let quoted = quote::suggestion(self.source, bytes);
            fault.help = Some(format!(
                "quote the text{quoted}, or put two spaces before the comment"
            ));
            self.findings.push(*fault);
        }
    }

    fn list(&mut self, start: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        let mut end = start.end;
        loop {
            let (event, bytes, span) = self.next()?;
            if event == Event::SequenceEnd {
                let flow = self.source.get(bytes.clone()) == Some("]");
                let end = if flow { bytes.end } else { end };
                return Ok(Node {
                    torn: self.mends.tears(&(start.start..bytes.end)),
                    span: start.start..end,
                    content: Content::List(items),
                });
            }
            let item = self.node(event, bytes, &span, depth + 1)?;
            end = end.max(item.span.end);
            items.push(item);
        }
    }

    fn map(&mut self, start: Range<usize>, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut first: HashMap<String, Range<usize>> = HashMap::new();
        let mut end = start.end;
        loop {
            let (event, bytes, span) = self.next()?;
            if event == Event::MappingEnd {
                let flow = self.source.get(bytes.clone()) == Some("}");
                let end = if flow { bytes.end } else { end };
                return Ok(Node {
                    torn: self.mends.tears(&(start.start..bytes.end)),
                    span: start.start..end,
                    content: Content::Map(entries),
                });
            }
            let key = self.node(event, bytes, &span, depth + 1)?;
            let (event, bytes, span) = self.next()?;
            let value = self.node(event, bytes, &span, depth + 1)?;
            end = end.max(key.span.end).max(value.span.end);
            match key.content {
                Content::Scalar(scalar) => {
                    let key = Entry {
                        key: scalar.text,
                        moved: self.mends.moved(&key.span, self.source),
                        key_span: key.span,
                        value,
                    };
                    self.entry(&mut entries, &mut first, key, scalar.style);
                }
                Content::Broken => {}
                Content::List(_) | Content::Map(_) | Content::Empty => {
                    self.findings
                        .push(*finding(Code::S0108, key.span, "a key is a single word"));
                }
            }
        }
    }

    fn entry(
        &mut self,
        entries: &mut Vec<Entry>,
        first: &mut HashMap<String, Range<usize>>,
        entry: Entry,
        style: Style,
    ) {
        if entry.key == "<<" && style == Style::Plain {
            let mut fault = finding(Code::S0005, entry.key_span, "`<<` is a YAML merge key");
            fault.help = Some("write the keys themselves".to_owned());
            self.findings.push(*fault);
        } else if let Some(at) = first.get(&entry.key) {
            let message = format!("the key `{}` stands twice", shown(&entry.key));
            let mut fault = finding(Code::S0106, entry.key_span, &message);
            fault.also = Some((at.clone(), "first here".to_owned()));
            self.findings.push(*fault);
        } else {
            first.insert(entry.key.clone(), entry.key_span.clone());
            entries.push(entry);
        }
    }
}

/// A word of the file, short enough for a message.
pub(super) fn shown(word: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 63;
    match word.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &word[..at]),
        None => word.to_owned(),
    }
}

fn finding(code: Code, span: Range<usize>, message: &str) -> Box<TextFinding> {
    Box::new(TextFinding {
        code,
        span,
        message: message.to_owned(),
        label: String::new(),
        help: None,
        also: None,
    })
}
