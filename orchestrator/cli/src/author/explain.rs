//! `saga explain CODE`: what a code means and what to do, without a server.

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
    after_help = "Examples:\n  saga explain S0303      a fault of a saga file\n  saga explain A0409      a refusal of the server\n  saga explain            every code"
)]
pub struct Args {
    /// Code, as it stands in brackets after `error`; without it all are listed
    code: Option<String>,
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// What is known about a code; also what `-o json` prints.
#[derive(Debug, Clone, Copy, Serialize)]
struct Article {
    code: &'static str,
    title: &'static str,
    text: &'static str,
}

/// Faults that only a server can find, for it alone knows what was registered before.
const OF_DEPLOY: [Article; 2] = [
    Article {
        code: "S0501",
        title: "the version is registered with other content",
        text: "Sagas that run are pinned to a version, so its content never changes. Raise `version` in the file and \
           deploy it again; sagas that were started before go on with the version that they began with.",
    },
    Article {
        code: "W0602",
        title: "settings that somebody else overrules",
        text: "One participant has one set of limits and breakers, whoever asks it. Where the newest versions of two \
           definitions say different things, the stricter holds: the lower limit, and the breaker that opens first. What \
           the server's own file says (`saga serve --limits FILE`) holds before both. Write the same in both definitions, \
           or say it once, in the server's file.",
    },
];

/// Every code there is: faults of saga files, then refusals of the server.
fn articles() -> impl Iterator<Item = Article> {
    let faults = saga_dsl::codes::Code::ALL.iter().map(|code| Article {
        code: code.as_str(),
        title: code.title(),
        text: code.explanation(),
    });
    let refusals = CODES.iter().map(|row| Article {
        code: row.text,
        title: row.title,
        text: row.help,
    });
    faults.chain(OF_DEPLOY).chain(refusals)
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

/// Finds a code however it was pasted: `s0303`, `error[S0303]`.
fn find(text: &str) -> Result<Article, Failure> {
    let bare = text
        .rsplit('[')
        .next()
        .unwrap_or(text)
        .trim_end_matches([']', ':', ' ']);
    let wanted = bare.trim().to_ascii_uppercase();
    articles()
        .find(|article| article.code == wanted)
        .ok_or_else(|| {
            let failure = Failure::new(
                Exit::NotFound,
                format!("there is no code `{}`", output::printable(text)),
            );
            match meant(&wanted) {
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
    let mut codes: Vec<&'static str> = articles().map(|article| article.code).collect();
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
    format!(
        "{}: {}\n\n{}\n",
        article.code,
        article.title,
        output::wrapped(article.text, PROSE_WIDTH).join("\n")
    )
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
    fn every_article_says_something_and_fits_the_screen() {
        let mut seen = std::collections::BTreeSet::new();
        for article in articles() {
            assert!(seen.insert(article.code), "{} stands twice", article.code);
            assert!(
                !article.title.is_empty() && article.text.ends_with(['.', '`', '…']),
                "{article:?}"
            );
            assert!(
                screen(article)
                    .lines()
                    .skip(1)
                    .all(|line| line.chars().count() <= PROSE_WIDTH)
            );
        }
    }

    #[test]
    fn the_screen() {
        insta::assert_snapshot!(screen(find("S0303").expect("found")), @r"
        S0303: no compensation before the pivot

        Everything before the pivot must be undone when the saga fails, so every step
        there says what undoes it. Where nothing needs undoing, say so: `compensation:
        none`.
        ");
    }
}
