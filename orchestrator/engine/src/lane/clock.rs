//! The lane's clock: it follows the host's clocks, never goes back, and is never behind what was committed before.
//!
//! It is the wall clock of the moment when the store was claimed, moved on by a clock that runs while the host is
//! suspended. So a suspension moves timers and deadlines at once, and a wall clock that is set moves nothing by itself.
//! A wall clock that is *ahead* may be right (it was wrong when the process began) or wrong (an operator or a time server
//! errs). It is followed when the store's clock agrees, or, where the store has no clock of its own, when it has stood
//! for a minute. A step of more than a day is followed by a restart only, which is an operator's act. A wall clock that is
//! behind is never followed: the lane waits until it has caught up.
//!
//! The clocks that it reads can be replaced: they are settings, and a simulation moves them by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use saga_core::Timestamp;
use tokio::time::Instant;

/// Says what the time is.
pub type Wall = fn() -> Timestamp;

/// Microseconds of a clock that never goes back and that runs while the host is suspended.
pub type Boot = fn() -> i64;

/// A difference between the clocks below this is none: time servers correct as much all day long.
const TOLERANCE_US: i64 = 500_000;
/// A step of the wall clock beyond this waits for an operator.
const STEP_US_MAX: i64 = 24 * 3_600 * 1_000_000;
/// A wall clock that is ahead has to stand for so long before it is followed, where no other clock confirms it.
const STANDS_US: i64 = 60_000_000;
/// The store's clock confirms the wall clock when they are no further apart.
const AGREES_US: i64 = 5_000_000;
/// The lane looks at the clocks that often: a suspension ends at most so long before timers follow it.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The wall clock of this machine.
#[must_use]
pub fn system() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_micros());
    Timestamp(i64::try_from(since).unwrap_or(i64::MAX))
}

/// The time since this machine was booted, suspensions included.
#[cfg(target_os = "linux")]
#[must_use]
pub fn boot() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(now.tv_nsec / 1_000)
}

/// The time since the first call. Other systems have no such clock that a safe call reads.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn boot() -> i64 {
    static BEGUN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let since = BEGUN.get_or_init(std::time::Instant::now).elapsed();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A lane's clock as others read it. Clones share it.
#[derive(Debug, Clone)]
pub struct LaneClock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wall: Wall,
    boot: Boot,
    /// The lane's time when `boot` showed zero. Only ever raised.
    base: AtomicI64,
}

/// How far the wall clock is from the lane's, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// The wall clock is ahead by so many microseconds; below zero, it is behind.
    pub ahead_us: i64,
    /// What the lane does about it.
    pub then: Then,
}

/// What a lane does about a wall clock that shows another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The wall clock is behind. It is not followed, since time never goes back.
    Waits,
    /// It is ahead, and is followed when it is confirmed.
    Follows,
    /// It is ahead by more than a day: a restart of the server takes it.
    NeedsRestart,
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.ahead_us.unsigned_abs() / 1_000_000;
        match self.then {
            Then::Waits => write!(
                f,
                "the host's clock is {seconds} s behind the server's, which never goes back: timers keep the server's \
                 until the host's has caught up"
            ),
            Then::Follows => write!(
                f,
                "the host's clock is {seconds} s ahead of the server's: the server follows when the store's clock \
                 agrees, or when a minute has passed"
            ),
            Then::NeedsRestart => write!(
                f,
                "the host's clock is {seconds} s ahead of the server's, more than a day: put it right, or restart the \
                 server, which takes it as it is"
            ),
        }
    }
}

impl Default for LaneClock {
    fn default() -> Self {
        Self::new(system, boot, Timestamp(0))
    }
}

impl LaneClock {
    pub(super) fn new(wall: Wall, boot: Boot, floor: Timestamp) -> Self {
        let base = AtomicI64::new(wall().0.max(floor.0).saturating_sub(boot()));
        Self {
            shared: Arc::new(Shared { wall, boot, base }),
        }
    }

    /// The lane's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(
            self.shared
                .base
                .load(Ordering::Acquire)
                .saturating_add((self.shared.boot)()),
        )
    }

    /// The later of the lane's time and the wall clock: what a participant's clock may show. A wall clock that is ahead by
    /// more than a day does not count.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        let (now, wall) = (self.now(), (self.shared.wall)());
        if wall.0.saturating_sub(now.0) > STEP_US_MAX {
            now
        } else {
            now.max(wall)
        }
    }

    /// How far the wall clock is away; `None`: not worth a word.
    #[must_use]
    pub fn drift(&self) -> Option<Drift> {
        let ahead_us = (self.shared.wall)().0.saturating_sub(self.now().0);
        let then = match ahead_us {
            ..=-1 => Then::Waits,
            0..=STEP_US_MAX => Then::Follows,
            _ => Then::NeedsRestart,
        };
        (ahead_us.abs() > TOLERANCE_US).then_some(Drift { ahead_us, then })
    }

    /// Moves the clock on to `at`, if it is not there yet.
    fn raise(&self, at: Timestamp) {
        let base = at.0.saturating_sub((self.shared.boot)());
        self.shared.base.fetch_max(base, Ordering::AcqRel);
    }
}

/// The clock as its lane keeps it.
#[derive(Debug)]
pub(super) struct Clock {
    shown: LaneClock,
    look_every: Duration,
    looked: i64,
    /// Since when the wall clock has been ahead by the same, and by how much it is ahead of the boot clock.
    ahead: Option<Ahead>,
    /// What was logged last.
    told: Option<Then>,
}

#[derive(Debug, Clone, Copy)]
struct Ahead {
    since: i64,
    wall_less_boot: i64,
}

/// What a look at the clocks asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nothing.
    Fine,
    /// What the store's clock shows.
    AskStore,
}

impl Clock {
    /// A clock that never shows an earlier moment than `floor`, which is the last one that was committed.
    pub(super) fn new(wall: Wall, boot: Boot, look_every: Duration, floor: Timestamp) -> Self {
        let looked = boot();
        Self {
            shown: LaneClock::new(wall, boot, floor),
            look_every,
            looked,
            ahead: None,
            told: None,
        }
    }

    pub(super) fn shown(&self) -> LaneClock {
        self.shown.clone()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.shown.now()
    }

    pub(super) fn latest(&self) -> Timestamp {
        self.shown.latest()
    }

    /// Never behind `floor` from now on.
    pub(super) fn not_before(&self, floor: Timestamp) {
        self.shown.raise(floor);
    }

    /// When to wake for what is due at `at`: no later than the next look, since a sleep does not run on while the host is
    /// suspended.
    pub(super) fn instant(&self, at: Option<Timestamp>) -> Instant {
        let micros = at.map_or(i64::MAX, |at| at.0.saturating_sub(self.now().0));
        let wait = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        Instant::now() + wait.min(self.look_every)
    }

    /// Looks at the wall clock, now and then.
    pub(super) fn look(&mut self) -> Look {
        let boot = (self.shown.shared.boot)();
        if boot.saturating_sub(self.looked)
            < i64::try_from(self.look_every.as_micros()).unwrap_or(i64::MAX)
        {
            return Look::Fine;
        }
        self.looked = boot;
        let drift = self.shown.drift();
        let then = drift.map(|drift| drift.then);
        if self.told != then {
            match drift {
                Some(drift) => tracing::warn!("{drift}"),
                None => tracing::info!("the host's clock and the server's show the same again"),
            }
            self.told = then;
        }
        match then {
            Some(Then::Follows) => {}
            Some(Then::Waits | Then::NeedsRestart) | None => {
                self.ahead = None;
                return Look::Fine;
            }
        }
        let wall = (self.shown.shared.wall)();
        let wall_less_boot = wall.0.saturating_sub(boot);
        let stands = self
            .ahead
            .filter(|a| a.wall_less_boot.abs_diff(wall_less_boot) <= TOLERANCE_US.unsigned_abs());
        let ahead = stands.unwrap_or(Ahead {
            since: boot,
            wall_less_boot,
        });
        self.ahead = Some(ahead);
        Look::AskStore
    }

    /// What the store's clock shows; `None`: it has none. An answer that is late confirms nothing.
    pub(super) fn store_says(&mut self, at: Option<Timestamp>) {
        let Some(Ahead { since, .. }) = self.ahead else {
            return;
        };
        let wall = (self.shown.shared.wall)();
        let confirmed = match at {
            Some(at) => at.0.abs_diff(wall.0) <= AGREES_US.unsigned_abs(),
            None => (self.shown.shared.boot)().saturating_sub(since) >= STANDS_US,
        };
        if confirmed
            && self
                .shown
                .drift()
                .is_some_and(|drift| drift.then == Then::Follows)
        {
            let by_ms = wall.0.saturating_sub(self.now().0) / 1_000;
            tracing::warn!(by_ms, "the server follows the host's clock");
            self.shown.raise(wall);
            (self.ahead, self.told) = (None, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const SECOND: i64 = 1_000_000;
    const BEGIN: i64 = 1_800_000_000 * SECOND;

    thread_local! {
        static WALL: Cell<i64> = const { Cell::new(0) };
        static BOOT: Cell<i64> = const { Cell::new(0) };
    }

    fn begin() -> Clock {
        WALL.set(BEGIN);
        BOOT.set(7 * HOUR);
        let boot = || BOOT.get();
        Clock::new(|| Timestamp(WALL.get()), boot, LOOK_EVERY, Timestamp(0))
    }

    /// Time passes on both clocks, with a look every second; the store's clock, if it has one, differs by so much.
    fn pass(clock: &mut Clock, seconds: i64, store: Option<i64>) {
        for _ in 0..seconds {
            WALL.set(WALL.get() + SECOND);
            BOOT.set(BOOT.get() + SECOND);
            if clock.look() == Look::AskStore {
                clock.store_says(store.map(|off| Timestamp(WALL.get() + off)));
            }
        }
    }

    fn shows(clock: &Clock) -> i64 {
        clock.now().0 - BEGIN
    }

    #[test]
    fn a_suspension_is_followed_at_once() {
        let clock = begin();
        WALL.set(WALL.get() + 3 * HOUR);
        BOOT.set(BOOT.get() + 3 * HOUR);
        assert_eq!(shows(&clock), 3 * HOUR);
        assert_eq!(clock.shown.drift(), None);
        let woken = clock.instant(Some(Timestamp(BEGIN + 4 * HOUR)));
        assert!(
            woken <= Instant::now() + LOOK_EVERY,
            "a sleep of an hour would not see a suspension"
        );
    }

    #[test]
    fn a_late_correction_is_followed_after_a_minute_without_a_second_clock() {
        let mut clock = begin();
        WALL.set(WALL.get() + 2 * HOUR);
        assert_eq!(
            clock.latest().0 - BEGIN,
            2 * HOUR,
            "what participants compare with their clocks"
        );
        pass(&mut clock, 60, None);
        assert_eq!(shows(&clock), 60 * SECOND);
        pass(&mut clock, 2, None);
        assert_eq!(shows(&clock), 2 * HOUR + 62 * SECOND);
        assert_eq!(clock.shown.drift(), None);
    }

    #[test]
    fn a_correction_that_the_store_confirms_is_followed_at_once() {
        let mut clock = begin();
        WALL.set(WALL.get() + 2 * HOUR);
        pass(&mut clock, 1, Some(SECOND));
        assert_eq!(shows(&clock), 2 * HOUR + SECOND);
    }

    #[test]
    fn a_correction_that_the_store_denies_is_not_followed() {
        let mut clock = begin();
        WALL.set(WALL.get() + 2 * HOUR);
        pass(&mut clock, 600, Some(-2 * HOUR));
        assert_eq!(shows(&clock), 600 * SECOND);
        assert_eq!(
            clock.shown.drift().map(|drift| drift.then),
            Some(Then::Follows)
        );
    }

    #[test]
    fn ten_years_for_two_seconds_move_nothing() {
        const YEARS: i64 = 10 * 365 * 24 * HOUR;
        let mut clock = begin();
        WALL.set(WALL.get() + YEARS);
        pass(&mut clock, 2, Some(0));
        assert_eq!((shows(&clock), clock.latest()), (2 * SECOND, clock.now()));
        assert_eq!(
            clock.shown.drift().map(|drift| drift.then),
            Some(Then::NeedsRestart)
        );
        WALL.set(WALL.get() - YEARS);
        pass(&mut clock, 100, None);
        assert_eq!((shows(&clock), clock.shown.drift()), (102 * SECOND, None));
    }

    #[test]
    fn an_hour_for_two_seconds_moves_nothing_without_a_second_clock() {
        let mut clock = begin();
        for _ in 0..40 {
            WALL.set(WALL.get() + HOUR);
            pass(&mut clock, 2, None);
            WALL.set(WALL.get() - HOUR);
            pass(&mut clock, 2, None);
        }
        assert_eq!(shows(&clock), 160 * SECOND);
    }

    #[test]
    fn nothing_goes_back() {
        let mut clock = begin();
        WALL.set(WALL.get() - 5 * HOUR);
        pass(&mut clock, 100, Some(0));
        assert_eq!(shows(&clock), 100 * SECOND);
        assert_eq!(
            clock.shown.drift().map(|drift| drift.then),
            Some(Then::Waits)
        );
        clock.not_before(Timestamp(BEGIN));
        assert_eq!(shows(&clock), 100 * SECOND);
        clock.not_before(Timestamp(BEGIN + HOUR));
        assert_eq!(shows(&clock), HOUR);
    }
}
