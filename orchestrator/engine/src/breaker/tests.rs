//! A breaker through its life.

use super::*;

const POLICY: BreakerPolicy = BreakerPolicy {
    failure_percent: 50,
    window_ms: 10_000,
    min_calls: 4,
    open_for_ms: 1_000,
    half_open_calls: 3,
};

fn at(ms: i64) -> Timestamp {
    Timestamp(ms * 1_000)
}

fn new() -> Breaker {
    Breaker::new(Some(POLICY), Rules::ALL, at(0))
}

fn call(breaker: &mut Breaker, health: Health, ms: i64) -> bool {
    let generation = breaker.sent();
    breaker.answered(generation, health, at(ms))
}

fn room(breaker: &Breaker) -> Option<u32> {
    breaker.valve().map(|valve| valve.room)
}

/// Open since 3 ms.
fn open() -> Breaker {
    let mut breaker = new();
    let tripped: Vec<bool> = (0..4)
        .map(|ms| call(&mut breaker, Health::Ill, ms))
        .collect();
    assert_eq!(tripped, [false, false, false, true]);
    breaker
}

#[test]
fn it_opens_at_its_share_and_not_before_enough_calls() {
    let mut breaker = new();
    for ms in 0..3 {
        assert!(!call(&mut breaker, Health::Ill, ms), "too few calls");
    }
    assert!(
        !call(&mut breaker, Health::Unsaid, 4),
        "what was never sent is no call"
    );
    assert!(call(&mut breaker, Health::Ill, 5));
    let mut breaker = new();
    let health = [
        Health::Well,
        Health::Well,
        Health::Well,
        Health::Ill,
        Health::Ill,
    ];
    let tripped: Vec<bool> = health
        .into_iter()
        .map(|health| call(&mut breaker, health, 0))
        .collect();
    assert_eq!(tripped, [false; 5], "two of five are less than half");
    assert!(call(&mut breaker, Health::Ill, 0));
    assert_eq!(breaker.face().reason, "3 of 6 calls failed within 10s");
    assert_eq!(breaker.face().open_until, Some(at(1_000)));
}

#[test]
fn the_window_forgets() {
    let mut breaker = new();
    for _ in 0..3 {
        call(&mut breaker, Health::Ill, 0);
    }
    assert!(
        !call(&mut breaker, Health::Ill, 10_001),
        "the three are too old"
    );
    assert_eq!(breaker.calls(), (1, 1));
}

#[test]
fn half_open_one_probe_goes_at_a_time_and_so_many_in_a_row_close_it() {
    let mut breaker = open();
    assert!(!breaker.tick(at(1_002)) && room(&breaker) == Some(0));
    assert!(breaker.tick(at(1_003)) && room(&breaker) == Some(1));
    let probe = breaker.sent();
    assert_eq!(room(&breaker), Some(0), "one at a time");
    breaker.answered(probe, Health::Unsaid, at(1_004));
    assert_eq!(
        (room(&breaker), breaker.phase()),
        (Some(1), Phase::HalfOpen { succeeded: 0 })
    );
    for succeeded in 1..3 {
        call(&mut breaker, Health::Well, 1_005);
        assert_eq!(breaker.phase(), Phase::HalfOpen { succeeded });
    }
    call(&mut breaker, Health::Well, 1_006);
    assert_eq!(
        breaker.phase(),
        Phase::Recovering {
            cohort: 3,
            answered: 0
        }
    );
    assert!(breaker.face().open, "a restart now begins with a probe");
}

#[test]
fn a_probe_that_fails_opens_it_again() {
    let mut breaker = open();
    breaker.tick(at(1_003));
    call(&mut breaker, Health::Well, 1_004);
    assert!(call(&mut breaker, Health::Ill, 1_005));
    assert_eq!(
        breaker.phase(),
        Phase::Open {
            until: Some(at(2_005))
        }
    );
    assert_eq!(breaker.generation(), 3);
}

#[test]
fn answers_from_before_it_opened_count_for_nothing() {
    let mut breaker = new();
    let early = breaker.sent();
    for ms in 0..4 {
        call(&mut breaker, Health::Ill, ms);
    }
    breaker.tick(at(1_003));
    assert_eq!(room(&breaker), Some(1));
    breaker.answered(early, Health::Well, at(1_004));
    assert_eq!(
        (breaker.phase(), room(&breaker)),
        (Phase::HalfOpen { succeeded: 0 }, Some(1))
    );
    breaker.answered(early, Health::Ill, at(1_004));
    assert_eq!(breaker.phase(), Phase::HalfOpen { succeeded: 0 });
}

#[test]
fn who_waited_is_let_through_in_cohorts_that_double() {
    let mut breaker = open();
    breaker.tick(at(1_003));
    (0..3).for_each(|_| assert!(!call(&mut breaker, Health::Well, 1_004)));
    let mut cohorts = Vec::new();
    for _ in 0..4 {
        let cohort = room(&breaker).expect("recovering");
        cohorts.push(cohort);
        let sent: Vec<u64> = (0..cohort).map(|_| breaker.sent()).collect();
        assert_eq!(room(&breaker), Some(0));
        for generation in sent {
            breaker.answered(generation, Health::Well, at(1_005));
        }
    }
    assert_eq!(cohorts, [3, 6, 12, 24]);
    call(&mut breaker, Health::Ill, 1_006);
    assert_eq!(
        breaker.phase(),
        Phase::Recovering {
            cohort: 3,
            answered: 0
        },
        "a failure begins again small"
    );
    assert!(breaker.nobody_waits(at(1_007)) && !breaker.nobody_waits(at(1_008)));
    assert_eq!(
        (breaker.phase(), breaker.face().open),
        (Phase::Closed, false)
    );
}

#[test]
fn too_many_failures_open_it_again_while_it_recovers() {
    let mut breaker = open();
    breaker.tick(at(1_003));
    (0..3).for_each(|_| assert!(!call(&mut breaker, Health::Well, 1_004)));
    let tripped: Vec<bool> = (0..4)
        .map(|_| call(&mut breaker, Health::Ill, 1_005))
        .collect();
    assert_eq!(tripped, [false, false, false, true]);
}

#[test]
fn an_operator_trips_and_resets() {
    let mut breaker = new();
    assert!(!breaker.reset("ann", "", at(0)), "it is closed");
    breaker.trip(None, "ann", "the bank says so", at(1));
    assert!(
        !breaker.tick(at(i64::MAX / 2_000)) && breaker.due().is_none(),
        "until it is reset"
    );
    assert_eq!(
        (breaker.face().by.as_str(), breaker.face().reason.as_str()),
        ("ann", "the bank says so")
    );
    assert!(breaker.reset("ann", "all well", at(2)));
    assert_eq!(
        breaker.phase(),
        Phase::Recovering {
            cohort: 3,
            answered: 0
        }
    );
    assert!(!breaker.face().open);
    let mut breaker = Breaker::new(None, Rules::ALL, at(0));
    (0..100).for_each(|_| assert!(!call(&mut breaker, Health::Ill, 0), "no policy, no opening"));
    breaker.trip(Some(at(5)), "ann", "", at(1));
    assert!(breaker.tick(at(5)));
    assert_eq!(
        breaker.phase(),
        Phase::Recovering {
            cohort: COHORT,
            answered: 0
        },
        "no policy, no probes"
    );
}

#[test]
fn a_restart_finds_it_open() {
    let left = open().face().clone();
    let mut breaker = Breaker::restore(Some(POLICY), Rules::ALL, left.clone(), at(500));
    assert_eq!(
        (room(&breaker), breaker.due(), breaker.generation()),
        (Some(0), left.open_until, 2)
    );
    assert!(breaker.tick(at(1_003)));
    assert_eq!(breaker.phase(), Phase::HalfOpen { succeeded: 0 });
}
