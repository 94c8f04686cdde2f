//! `saga definitions`: what is registered.

use saga_proto::v1::DefinitionInfo;

use crate::{
    Context,
    exit::{Exit, Failure},
    show::{
        json,
        output::{self, Frame, ListFormat, count},
        pages,
        table::{self, Text},
        time,
    },
};

/// Letters of a hash that a table shows.
const HASH_SHOWN: usize = 12;

/// Arguments of `saga definitions`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  saga definitions\n  saga definitions -o json | jq '.[] | select(.open_sagas > 0)'"
)]
pub struct Args {
    /// Format
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: ListFormat,
}

/// Runs `saga definitions`.
pub async fn run(args: Args, context: &Context) -> Result<Exit, Failure> {
    let server = context.server().await?;
    let mut list = pages::definitions(&server).await?;
    list.sort_by(|a, b| a.name.cmp(&b.name).then(b.version.cmp(&a.version)));
    let rows: Vec<_> = list.iter().map(json::Definition::from).collect();
    let id = |row: &json::Definition| format!("{}@{}", row.name, row.version);
    output::list(args.output, &rows, id, |wide| {
        screen(&list, wide, Frame::of_stdout())
    })?;
    if list.is_empty() && matches!(args.output, ListFormat::Table | ListFormat::Wide) {
        output::note("no definitions yet: saga deploy FILE");
    }
    Ok(Exit::Ok)
}

pub(crate) fn screen(list: &[DefinitionInfo], wide: bool, frame: Frame) -> String {
    if list.is_empty() {
        return String::new();
    }
    let frame = if wide {
        Frame {
            width: None,
            ..frame
        }
    } else {
        frame
    };
    let rows = list.iter().map(|definition| {
        let hash: String = match wide {
            true => definition.hash.clone(),
            false => definition.hash.chars().take(HASH_SHOWN).collect(),
        };
        vec![
            Text::plain(format!("{}@{}", definition.name, definition.version)),
            Text::plain(definition.steps.to_string()),
            Text::plain(count(definition.open_sagas)),
            Text::plain(time::span(
                frame.now_us.saturating_sub(definition.deployed_at_us),
            )),
            Text::dim(hash),
            Text::plain(definition.description.as_str()),
        ]
    });
    table::draw(
        &[
            "DEFINITION",
            "STEPS",
            "ACTIVE",
            "AGE",
            "HASH",
            "DESCRIPTION",
        ],
        rows.collect(),
        frame,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::{output::bare, sample::NOW_US};

    #[test]
    fn the_screen() {
        let list = [
            DefinitionInfo {
                name: "book_trip".into(),
                version: 2,
                hash: "6f1d2c3b4a5968778695a4b3c2d1e0ff".into(),
                deployed_at_us: NOW_US - 7_380_000_000,
                open_sagas: 1_204,
                steps: 4,
                description: "Book a flight and a hotel, charge the card, confirm.".into(),
            },
            DefinitionInfo {
                name: "lab_report".into(),
                version: 1,
                deployed_at_us: NOW_US,
                ..DefinitionInfo::default()
            },
        ];
        let narrow = screen(
            &list,
            false,
            Frame {
                width: Some(80),
                now_us: NOW_US,
            },
        );
        let wide = screen(
            &list,
            true,
            Frame {
                width: Some(80),
                now_us: NOW_US,
            },
        );
        insta::assert_snapshot!(bare(&format!("{narrow}\n{wide}")));
        assert_eq!(
            screen(
                &[],
                false,
                Frame {
                    width: None,
                    now_us: 0
                }
            ),
            ""
        );
    }
}
