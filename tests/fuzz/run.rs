//! How a target is run: saved cases first, then made ones, for a number of cases or a time.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};

/// Cases of a target in the normal suite.
const CASES: u32 = 1_000;
/// Seconds of a target in the long mode.
const LONG_SECONDS: u64 = 60;
/// No case takes near as long unless it hangs; debug builds on busy machines are slow.
const HANG: Duration = Duration::from_secs(10);
/// Steps of making a failing case smaller.
const SHRINKS: u32 = 4_000;

enum Mode {
    Short,
    Long(Duration),
}

fn mode() -> Mode {
    match env::var("SAGA_FUZZ").as_deref() {
        Err(_) | Ok("") => Mode::Short,
        Ok("long") => Mode::Long(Duration::from_secs(LONG_SECONDS)),
        Ok(seconds) => {
            let seconds = seconds
                .parse()
                .expect("SAGA_FUZZ is `long` or a number of seconds");
            Mode::Long(Duration::from_secs(seconds))
        }
    }
}

fn seed(mode: &Mode) -> u64 {
    match (env::var("SAGA_FUZZ_SEED"), mode) {
        (Ok(seed), _) => seed.parse().expect("SAGA_FUZZ_SEED is a number"),
        (Err(_), Mode::Short) => 0,
        (Err(_), Mode::Long(_)) => {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            now.as_secs()
        }
    }
}

/// Runs `target` over its saved cases and over those that `cases` makes.
pub fn fuzz(name: &str, cases: impl Strategy<Value = Vec<u8>>, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/regressions")
        .join(name);
    for path in saved(&folder) {
        println!("{}", path.display());
        bounded(&target, &fs::read(&path).expect("a saved case can be read"));
    }
    let mode = mode();
    let seed = seed(&mode);
    println!("SAGA_FUZZ_SEED={seed}");
    let begun = Instant::now();
    let mut ran: u64 = 0;
    for round in 0.. {
        let config = Config {
            cases: CASES,
            max_shrink_iters: SHRINKS,
            failure_persistence: None,
            ..Config::default()
        };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes(seed, round));
        let mut runner = TestRunner::new_with_rng(config, rng);
        let outcome = runner.run(&cases, |case| {
            bounded(&target, &case);
            Ok::<(), TestCaseError>(())
        });
        ran += u64::from(CASES);
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(reason, case)) => {
                let path = save(&folder, &case);
                panic!(
                    "{name}, SAGA_FUZZ_SEED={seed}, round {round}: {reason}\nthe case is saved as {}:\n{}",
                    path.display(),
                    String::from_utf8_lossy(&case)
                );
            }
            Err(TestError::Abort(reason)) => panic!("{name}: no cases could be made: {reason}"),
        }
        match mode {
            Mode::Short => break,
            Mode::Long(limit) if begun.elapsed() >= limit => break,
            Mode::Long(_) => {}
        }
    }
    println!("{name}: {ran} cases in {:?}", begun.elapsed());
}

/// One case, which must come to an end.
fn bounded(target: &impl Fn(&[u8]), case: &[u8]) {
    let begun = Instant::now();
    target(case);
    assert!(begun.elapsed() < HANG, "a case took {:?}", begun.elapsed());
}

fn seed_bytes(seed: u64, round: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&round.to_le_bytes());
    bytes
}

fn saved(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    paths.sort();
    paths
}

/// Saves a failing case under a name made of its content, so that it is saved once.
fn save(folder: &Path, case: &[u8]) -> PathBuf {
    const PRIME: u64 = 0x0100_0000_01b3;
    let start: u64 = 0xcbf2_9ce4_8422_2325;
    let name = case.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    });
    let path = folder.join(format!("{name:016x}"));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, case))
        .expect("the case can be saved");
    path
}
