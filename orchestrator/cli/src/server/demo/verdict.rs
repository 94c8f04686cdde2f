//! What took effect and what was undone, by the participants' own ledgers, and whether that is as promised.

use saga_lab::demo::{Kind, LedgerRow, PARTICIPANTS};

use super::scenes::{Plot, Scene};
use crate::show::{
    output::Frame,
    table::{self, Text},
    words,
};

/// A scene after it ended.
#[derive(Debug, Clone)]
pub struct Played {
    /// The scene.
    pub scene: Scene,
    /// The saga, in the usual form of a UUID.
    pub saga_id: String,
    /// The status it ended with, as the server says.
    pub status: String,
    /// Attempts of the step at which the scene aims: hotels or flights.
    pub tries: u32,
    /// Commands travelled over a broker.
    pub over_broker: bool,
}

/// What one participant did for one saga.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Deeds {
    effects: usize,
    undone: usize,
}

impl Deeds {
    fn of(rows: &[&LedgerRow], participant: &str) -> Self {
        let count = |kind| {
            rows.iter()
                .filter(|row| row.participant == participant && row.kind == kind)
                .count()
        };
        Self {
            effects: count(Kind::Effect),
            undone: count(Kind::Compensation),
        }
    }

    fn text(self, participant: &str) -> String {
        let done = match participant {
            "payments" => "charged",
            "notifications" => "sent",
            _ => "booked",
        };
        match self {
            Self {
                effects: 0,
                undone: 0,
            } => "–".to_owned(),
            Self { effects, undone: 0 } => format!("{done} ×{effects}"),
            Self { effects, undone } => format!("{done} ×{effects}, cancelled ×{undone}"),
        }
    }
}

/// A promise and whether it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The promise.
    pub promise: &'static str,
    /// Sagas for which it was broken.
    pub broken: Vec<&'static str>,
}

/// The table of what happened.
pub fn table(played: &[Played], ledger: &[LedgerRow], frame: Frame) -> String {
    let mut header = vec!["SAGA", "ENDED"];
    header.extend(["FLIGHTS", "HOTELS", "PAYMENTS", "NOTIFICATIONS"]);
    let rows = played.iter().map(|played| {
        let own = own(played, ledger);
        let mut row = vec![
            Text::plain(played.scene.trip_id),
            words::status(&played.status).into(),
        ];
        row.extend(PARTICIPANTS.map(|name| Text::plain(Deeds::of(&own, name).text(name))));
        row
    });
    table::draw(&header, rows.collect(), frame)
}

/// Every promise, held against the ledgers.
pub fn checks(played: &[Played], ledger: &[LedgerRow]) -> Vec<Check> {
    type Holds = fn(&Played, &[&LedgerRow]) -> bool;
    let promises: [(&str, Holds); 6] = [
        ("each saga reached the end it had to", |played, _| {
            played.status == played.scene.end
        }),
        ("no action took effect twice", |_, own| {
            each(own, |deeds| deeds.effects <= 1)
        }),
        (
            "completed: everything took effect once, nothing was undone",
            |played, own| {
                played.status != "completed"
                    || each(own, |deeds| {
                        deeds
                            == Deeds {
                                effects: 1,
                                undone: 0,
                            }
                    })
            },
        ),
        (
            "compensated: what took effect was undone once, nothing else",
            |played, own| {
                played.status != "compensated" || each(own, |deeds| deeds.undone == deeds.effects)
            },
        ),
        ("undo came after everything that was done", |_, own| {
            in_order(own)
        }),
        (
            "the trouble was real: the step in question was asked more than once",
            |played, _| {
                match played.scene.plot {
                    Plot::Plain | Plot::Declined => true,
                    Plot::FlakyHotel => played.tries >= 3,
                    // A broker brings the command again by itself, and no attempt is spent.
                    Plot::KilledFlights => played.tries >= 2 || played.over_broker,
                }
            },
        ),
    ];
    promises
        .into_iter()
        .map(|(promise, holds)| {
            let broken = played
                .iter()
                .filter(|played| !holds(played, &own(played, ledger)));
            Check {
                promise,
                broken: broken.map(|played| played.scene.trip_id).collect(),
            }
        })
        .collect()
}

fn own<'a>(played: &Played, ledger: &'a [LedgerRow]) -> Vec<&'a LedgerRow> {
    ledger
        .iter()
        .filter(|row| row.saga_id == played.saga_id)
        .collect()
}

fn each(own: &[&LedgerRow], holds: impl Fn(Deeds) -> bool) -> bool {
    PARTICIPANTS.iter().all(|name| holds(Deeds::of(own, name)))
}

/// Both reservations stand side by side, so neither of their cancellations has to come first; but no effect may come
/// after an undo.
fn in_order(own: &[&LedgerRow]) -> bool {
    let last_effect = own
        .iter()
        .filter(|row| row.kind == Kind::Effect)
        .map(|row| row.at_us)
        .max();
    let first_undo = own
        .iter()
        .filter(|row| row.kind == Kind::Compensation)
        .map(|row| row.at_us)
        .min();
    match (last_effect, first_undo) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(effect), Some(undo)) => effect <= undo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{server::demo::scenes::SCENES, show::output::bare};

    fn row(participant: &'static str, saga: usize, kind: Kind, at_us: i64) -> LedgerRow {
        LedgerRow {
            participant,
            saga_id: saga.to_string(),
            step: "step".into(),
            round: 1,
            kind,
            subject: "F-0001".into(),
            at_us,
        }
    }

    fn played() -> Vec<Played> {
        let played = |(n, scene): (usize, Scene)| Played {
            scene,
            saga_id: n.to_string(),
            status: scene.end.into(),
            tries: 3,
            over_broker: false,
        };
        SCENES.into_iter().enumerate().map(played).collect()
    }

    fn ledger() -> Vec<LedgerRow> {
        let mut rows = Vec::new();
        for saga in [0, 2, 3] {
            rows.extend(
                (1..)
                    .zip(PARTICIPANTS)
                    .map(|(at, name)| row(name, saga, Kind::Effect, at)),
            );
        }
        for name in ["flights", "hotels"] {
            rows.extend([
                row(name, 1, Kind::Effect, 1),
                row(name, 1, Kind::Compensation, 2),
            ]);
        }
        rows
    }

    fn broken(played: &[Played], ledger: &[LedgerRow]) -> Vec<(&'static str, Vec<&'static str>)> {
        let checks = checks(played, ledger)
            .into_iter()
            .filter(|check| !check.broken.is_empty());
        checks
            .map(|check| {
                (
                    check
                        .promise
                        .split_once(':')
                        .map_or(check.promise, |(first, _)| first),
                    check.broken,
                )
            })
            .collect()
    }

    fn lines(text: &str) -> String {
        text.lines()
            .map(|line| line.trim_end().to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_table_tells_what_the_ledgers_tell() {
        let shown = table(
            &played(),
            &ledger(),
            Frame {
                width: None,
                now_us: 0,
            },
        );
        insta::assert_snapshot!(lines(&bare(&shown)), @r"
        SAGA    ENDED          FLIGHTS                  HOTELS                   PAYMENTS    NOTIFICATIONS
        trip-1  ✔ completed    booked ×1                booked ×1                charged ×1  sent ×1
        trip-2  ↩ compensated  booked ×1, cancelled ×1  booked ×1, cancelled ×1  –           –
        trip-3  ✔ completed    booked ×1                booked ×1                charged ×1  sent ×1
        trip-4  ✔ completed    booked ×1                booked ×1                charged ×1  sent ×1
        ");
    }

    #[test]
    fn nothing_is_broken_when_all_is_well() {
        assert_eq!(broken(&played(), &ledger()), []);
    }

    #[test]
    fn a_seat_booked_twice_shows() {
        let mut ledger = ledger();
        ledger.push(row("flights", 3, Kind::Effect, 5));
        assert_eq!(
            broken(&played(), &ledger),
            [
                ("no action took effect twice", vec!["trip-4"]),
                ("completed", vec!["trip-4"])
            ]
        );
    }

    #[test]
    fn a_reservation_that_was_not_cancelled_shows() {
        let mut ledger = ledger();
        ledger.pop();
        assert_eq!(
            broken(&played(), &ledger),
            [("compensated", vec!["trip-2"])]
        );
    }

    #[test]
    fn an_effect_after_the_undo_shows() {
        let mut ledger = ledger();
        if let Some(last) = ledger.last_mut() {
            last.at_us = 0;
        }
        assert_eq!(broken(&played(), &ledger).len(), 1);
    }

    #[test]
    fn a_wrong_end_and_harmless_trouble_show() {
        let mut played = played();
        played[0].status = "compensated".into();
        played[2].tries = 1;
        let broken: Vec<_> = broken(&played, &ledger())
            .into_iter()
            .flat_map(|(_, sagas)| sagas)
            .collect();
        assert_eq!(broken, ["trip-1", "trip-1", "trip-3"]);
    }
}
