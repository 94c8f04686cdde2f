//! The four sagas of the demonstration: what each is about, and how it has to end.

use serde_json::{Value, json};

/// What makes a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// Everything works.
    Plain,
    /// The bank declines the card.
    Declined,
    /// The hotel fails twice.
    FlakyHotel,
    /// The process that serves flights is killed between its commit and its reply.
    KilledFlights,
}

/// A saga to run.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// What makes it.
    pub plot: Plot,
    /// Its key.
    pub trip_id: &'static str,
    /// One line.
    pub title: &'static str,
    /// What to look at.
    pub look: &'static str,
    /// How it has to end.
    pub end: &'static str,
}

/// The scenes in order.
pub const SCENES: [Scene; 4] = [
    Scene {
        plot: Plot::Plain,
        trip_id: "trip-1",
        title: "A trip is booked",
        look: "Flight and hotel side by side, then the card, which is the point of no return, then the confirmation.",
        end: "completed",
    },
    Scene {
        plot: Plot::Declined,
        trip_id: "trip-2",
        title: "The card is declined",
        look: "A refusal is final. Both reservations are cancelled, for nothing after them has happened.",
        end: "compensated",
    },
    Scene {
        plot: Plot::FlakyHotel,
        trip_id: "trip-3",
        title: "The hotel fails twice",
        look: "It answers 503, is asked again after a pause that grows, and keeps one booking in the end.",
        end: "completed",
    },
    Scene {
        plot: Plot::KilledFlights,
        trip_id: "trip-4",
        title: "Flights is killed after its commit and before its reply",
        look: "Nobody can tell whether the seat is booked. Asked again, the inbox remembers: one seat, not two.",
        end: "completed",
    },
];

impl Scene {
    /// The saga's input.
    pub fn input(&self) -> Value {
        trip(self.trip_id, self.plot)
    }
}

/// Input of a trip, as the plot needs it.
pub fn trip(trip_id: &str, plot: Plot) -> Value {
    json!({
        "trip_id": trip_id,
        "customer_id": if plot == Plot::Declined { "customer-broke" } else { "customer-1" },
        "flight": {"from": "ZRH", "to": "LIS", "date": "2027-05-01"},
        "hotel": {"city": if plot == Plot::FlakyHotel { "Flaky" } else { "Lisbon" }, "nights": 3},
        "amount_cents": 42_000,
    })
}
