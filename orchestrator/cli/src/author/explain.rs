//! `saga explain CODE`: what a code or a word of the screens means and what to do, without a server.

mod draw;
mod pages;
mod words;

use saga_server::api::error::CODES;
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    show::{
        output::{self, Format},
        table,
    },
};

/// Arguments of `saga explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  saga explain S0303      a fault of a saga file\n  saga explain A0409      a refusal of the server\n  saga explain undo_stuck a word of a screen\n  saga explain            every code and word"
)]
pub struct Args {
    /// Code, as it stands in brackets after `error`, or a word of a screen; without it all are listed
    code: Option<String>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What is known about a code; also what `-o json` prints.
#[derive(Debug, Clone, Copy, Serialize)]
struct Article {
    /// `code` or `word`.
    kind: &'static str,
    code: &'static str,
    title: &'static str,
    /// In short; of a word the page says all.
    #[serde(skip_serializing_if = "str::is_empty")]
    text: &'static str,
    /// In Markdown, with an example.
    #[serde(skip_serializing_if = "str::is_empty")]
    page: &'static str,
}

/// Faults that only a server can find, for it alone knows what was registered before.
const OF_DEPLOY: [Article; 2] = [
    Article {
        kind: "code",
        page: "",
        code: "S0501",
        title: "the version is registered with other content",
        text: "Sagas that run are pinned to a version, so its content never changes. Raise `version` in the file and \
           deploy it again; sagas that were started before go on with the version that they began with.",
    },
    Article {
        kind: "code",
        page: "",
        code: "W0602",
        title: "settings that somebody else overrules",
        text: "One participant has one set of limits and breakers, whoever asks it. Where the newest versions of two \
           definitions say different things, the stricter holds: the lower limit, and the breaker that opens first. What \
           the server's own file says (`saga serve --limits FILE`) holds before both. Write the same in both definitions, \
           or say it once, in the server's file.",
    },
];

/// Every code there is: faults of saga files, then refusals of the server; then the words of the screens.
fn articles() -> impl Iterator<Item = Article> {
    let faults = saga_dsl::codes::Code::ALL.iter().map(|code| Article {
        kind: "code",
        page: "",
        code: code.as_str(),
        title: code.title(),
        text: code.explanation(),
    });
    let refusals = CODES.iter().map(|row| Article {
        kind: "code",
        page: "",
        code: row.text,
        title: row.title,
        text: row.help,
    });
    let codes = faults
        .chain(OF_DEPLOY)
        .chain(refusals)
        .map(|article| Article {
            page: pages::page(article.code).unwrap_or_default(),
            ..article
        });
    codes.chain(words::articles())
}

/// Runs `saga explain`.
pub fn run(args: Args) -> Result<Exit, Failure> {
    let Some(code) = args.code else {
        let all: Vec<Article> = articles().collect();
        match args.output {
            Format::Json => output::json(&all)?,
            Format::Text => output::data(&index(&all))?,
        }
        return Ok(Exit::Ok);
    };
    let article = find(&code)?;
    match args.output {
        Format::Json => output::json(&article)?,
        Format::Text => output::data(&screen(article))?,
    }
    Ok(Exit::Ok)
}

/// Finds a code or a word however it was pasted: `s0303`, `error[S0303]`, `undo stuck`.
fn find(text: &str) -> Result<Article, Failure> {
    let bare = text
        .rsplit('[')
        .next()
        .unwrap_or(text)
        .trim_end_matches([']', ':', ' ']);
    let wanted = bare.trim().to_ascii_uppercase();
    let word = wanted.to_ascii_lowercase().replace([' ', '-'], "_");
    articles()
        .find(|article| article.code == wanted || article.code == words::named(&word))
        .ok_or_else(|| {
            let failure = Failure::new(
                Exit::NotFound,
                format!("there is no code `{}`", output::printable(text)),
            );
            let words = words::articles().map(|article| article.code);
            match meant(&wanted).or_else(|| saga_dsl::near_miss::near_miss(&word, words)) {
                Some(near) => {
                    failure.help(format!("did you mean {near}? `saga explain` lists all"))
                }
                None => failure.help("`saga explain` lists all"),
            }
        })
}

/// The code that was probably meant: letters read as the digits that they look like, and of equally near ones the one
/// of the same group.
fn meant(wanted: &str) -> Option<&'static str> {
    let digit = |(at, c): (usize, char)| match c {
        'O' if at > 0 => '0',
        'I' | 'L' if at > 0 => '1',
        other => other,
    };
    let wanted: String = wanted.chars().enumerate().map(digit).collect();
    let codes = articles().filter(|article| article.kind == "code");
    let mut codes: Vec<&'static str> = codes.map(|article| article.code).collect();
    codes.sort_by_key(|code| {
        let shared = code
            .chars()
            .zip(wanted.chars())
            .take_while(|(one, other)| one == other)
            .count();
        std::cmp::Reverse(shared)
    });
    saga_dsl::near_miss::near_miss(&wanted, codes)
}

/// Columns in which prose reads well.
const PROSE_WIDTH: usize = 80;

fn screen(article: Article) -> String {
    let page = if article.page.is_empty() {
        article.text
    } else {
        article.page
    };
    let page = draw::page(page, PROSE_WIDTH);
    format!("{}: {}\n\n{page}", article.code, article.title)
}

fn index(all: &[Article]) -> String {
    let rows = all
        .iter()
        .map(|a| vec![table::Text::plain(a.code), table::Text::plain(a.title)])
        .collect();
    table::draw(&["CODE", "TITLE"], rows, output::Frame::of_stdout())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_however_they_are_pasted() {
        for text in ["S0303", "s0303", "error[S0303]", "[S0303]:", " S0303 "] {
            assert_eq!(find(text).expect("found").code, "S0303", "{text}");
        }
        assert_eq!(find("a0404").expect("found").code, "A0404");
    }

    #[test]
    fn unknown_codes_are_not_found() {
        for text in ["", "nonsense", "S9", "[[[", "é"] {
            assert_eq!(
                find(text).expect_err("unknown").exit(),
                Exit::NotFound,
                "{text}"
            );
        }
    }

    #[test]
    fn near_misses_name_a_code_of_their_group() {
        for (text, near) in [
            ("s303", "S0303"),
            ("0303", "S0303"),
            ("SO3O3", "S0303"),
            ("A04l0", "A0410"),
            ("S0306", "S0301"),
            ("error[S0404]", "S0401"),
            ("w0603", "W0601"),
        ] {
            let Err(Failure::Told {
                help: Some(help), ..
            }) = find(text)
            else {
                panic!("{text}")
            };
            assert_eq!(
                help,
                format!("did you mean {near}? `saga explain` lists all"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_code_is_found_in_small_letters() {
        for article in articles() {
            assert_eq!(
                find(&article.code.to_lowercase()).expect("found").title,
                article.title
            );
        }
    }

    #[test]
    fn words_are_found_as_screens_show_them() {
        for text in ["undo_stuck", "undo stuck", "UNDO_STUCK", "undo-stuck"] {
            assert_eq!(find(text).expect("found").code, "undo_stuck", "{text}");
        }
        let Err(Failure::Told {
            help: Some(help), ..
        }) = find("undo_stuk")
        else {
            panic!("no such word")
        };
        assert_eq!(help, "did you mean undo_stuck? `saga explain` lists all");
    }

    #[test]
    fn every_article_says_something_and_every_code_has_its_page() {
        let mut seen = std::collections::BTreeSet::new();
        for article in articles() {
            assert!(seen.insert(article.code), "{} stands twice", article.code);
            assert!(!article.title.is_empty(), "{article:?}");
            if article.kind == "code" {
                assert!(article.text.ends_with(['.', '`', '…']), "{}", article.code);
                assert!(!article.page.is_empty(), "{} has no page", article.code);
            }
            let prose = output::bare(&screen(article));
            let prose = prose
                .lines()
                .skip(1)
                .filter(|line| !line.starts_with("    "));
            for line in prose {
                assert!(line.chars().count() <= PROSE_WIDTH, "{line}");
            }
        }
    }

    #[test]
    fn the_screen_has_an_example() {
        let screen = output::bare(&screen(find("S0303").expect("found")));
        let start = "S0303: no compensation before the pivot\n\nEverything before the pivot";
        assert!(screen.starts_with(start), "{screen}");
        for part in [
            "\nA file that has it\n",
            "\n      - step: reserve\n",
            "\n    error[S0303]: nothing undoes `reserve`\n",
            "\n    +    compensation: hotels/cancel\n",
        ] {
            assert!(screen.contains(part), "{part}: {screen}");
        }
        assert!(!screen.contains("```"), "{screen}");
    }
}
