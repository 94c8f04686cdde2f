use std::{fs, path::Path};

use saga_dsl::file;

use super::*;
use crate::show::output::bare;

const TRIP: &str = include_str!("../../../../../examples/book_trip/book_trip.saga.yaml");
const OWN: &str = include_str!("../../../../../examples/book_trip/book_trip.saga.test.yaml");

fn plan(text: &str) -> Arc<Plan> {
    Arc::new(
        file::load("t.saga.yaml", text.as_bytes())
            .plan
            .expect("no faults"),
    )
}

async fn on(paths: &[&Path], case: Option<&str>, format: Format) -> Result<Exit, Failure> {
    let paths = paths.iter().map(|path| path.to_path_buf()).collect();
    run(Args {
        paths,
        case: case.map(str::to_owned),
        seed: SEED,
        list: false,
        output: format,
    })
    .await
}

/// A folder with a saga file and, if wanted, its test file.
fn folder(saga: &str, own: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("book_trip.saga.yaml"), saga).expect("written");
    if let Some(own) = own {
        fs::write(dir.path().join("book_trip.saga.test.yaml"), own).expect("written");
    }
    dir
}

#[tokio::test]
async fn the_trip_passes_with_its_own_cases() {
    let dir = folder(TRIP, Some(OWN));
    for path in [
        dir.path().to_owned(),
        dir.path().join("book_trip.saga.yaml"),
        dir.path().join("book_trip.saga.test.yaml"),
    ] {
        assert_eq!(
            on(&[&path], None, Format::Json).await.expect("runs"),
            Exit::Ok,
            "{}",
            path.display()
        );
    }
    let gathered = files::gather(&[dir.path().join("book_trip.saga.yaml")]).expect("read");
    let kinds: Vec<bool> = gathered.suites[0]
        .cases
        .iter()
        .map(|(_, own)| *own)
        .collect();
    assert!(kinds.iter().filter(|own| **own).count() >= 5 && kinds[0] && !kinds[kinds.len() - 1]);
}

async fn failed(suite: &Suite) -> Vec<String> {
    let mut failed = Vec::new();
    for (case, _) in &suite.cases {
        if !trials::run(&suite.plan, case, SEED, &mut Memory::default())
            .await
            .passed()
        {
            failed.push(case.name.clone());
        }
    }
    failed
}

#[tokio::test]
async fn with_the_compensation_of_hotels_broken_the_cases_are_named() {
    let breaks = [
        // Dropped: the author's own cases say what must be undone.
        (
            "compensation: none",
            "the card is declined, so both reservations are cancelled",
        ),
        // Its payload cannot be made where the outcome is unknown.
        (
            "compensation: {action: hotels/cancel, input: {id: \"${has(self.output) ? 1 : int(self.key)}\"}}",
            "reserve_hotel: never answers, effect happened",
        ),
    ];
    for (broken, named) in breaks {
        let dir = folder(
            &TRIP.replacen("compensation: hotels/cancel", broken, 1),
            Some(OWN),
        );
        let Ok(gathered) = files::gather(&[dir.path().to_owned()]) else {
            panic!("read")
        };
        assert_eq!(
            on(&[dir.path()], None, Format::Json).await.expect("runs"),
            Exit::Error
        );
        let failed = failed(&gathered.suites[0]).await;
        println!("{broken}: {failed:?}");
        assert!(
            failed.iter().any(|name| name == named),
            "{broken}: {failed:?}"
        );
    }
}

#[tokio::test]
async fn a_faulty_test_file_fails_and_the_rest_is_tried() {
    let dir = folder(
        TRIP,
        Some(&OWN.replacen("payments/charge:", "payments/chrage:", 1)),
    );
    let gathered = files::gather(&[dir.path().to_owned()]).expect("read");
    assert_eq!(gathered.faulty, 1);
    let own = gathered.suites[0]
        .cases
        .iter()
        .filter(|(_, own)| *own)
        .count();
    assert_eq!(
        own,
        OWN.matches("- case:").count() - 1,
        "one case is faulty, the others are tried"
    );
    assert_eq!(
        on(&[dir.path()], None, Format::Json).await.expect("runs"),
        Exit::Error
    );
}

#[tokio::test]
async fn a_case_is_found_by_its_name_or_a_part_of_it() {
    let dir = folder(TRIP, None);
    for name in ["charge_card: refused", "arrives before"] {
        assert_eq!(
            on(&[dir.path()], Some(name), Format::Json)
                .await
                .expect("runs"),
            Exit::Ok
        );
    }
    let failure = on(&[dir.path()], Some("nonsense"), Format::Json)
        .await
        .expect_err("no such case");
    assert_eq!(failure.exit(), Exit::NotFound);
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let missing = on(&[Path::new("none.saga.yaml")], None, Format::Json)
        .await
        .expect("told on stderr");
    assert_eq!(missing, Exit::Error);
    let dir = tempfile::tempdir().expect("a folder");
    let failure = on(&[dir.path()], None, Format::Json)
        .await
        .expect_err("nothing there");
    assert!(
        failure.to_string().starts_with("no *.saga.yaml in "),
        "{failure}"
    );
}

#[tokio::test]
async fn a_failing_case_tells_its_story_and_how_to_see_it_again() {
    // A definition that an older release took: today it is refused.
    let at_another = TRIP.replacen(
        "compensation: hotels/cancel",
        "compensation: flights/cancel",
        1,
    );
    let definition = file::load("t.saga.yaml", at_another.as_bytes()).definition;
    let plan = Plan::from_definition(definition.expect("a definition")).expect("a plan");
    let plan = Arc::new(plan);
    let cases = trials::generate(&plan).cases;
    let case = cases
        .iter()
        .find(|case| case.name == "charge_card: refused")
        .expect("generated");
    let verdict = trials::run(&plan, case, SEED, &mut Memory::default()).await;
    insta::assert_snapshot!(bare(&screen::case("trip.saga.yaml", case, &verdict, 30)));
    let json = screen::json("trip.saga.yaml", &plan, case, false, &verdict);
    let value = serde_json::to_value(&json).expect("JSON");
    assert_eq!(
        (&value["kind"], &value["end"], &value["step"]),
        (
            &"generated".into(),
            &"incident".into(),
            &"charge_card".into()
        )
    );
    assert_eq!(
        value["story"].as_array().map(Vec::len),
        Some(verdict.story.len())
    );
}

#[tokio::test]
async fn the_sum_names_notes_once() {
    let plan = plan(&TRIP.replacen("compensation: hotels/cancel", "compensation: none", 1));
    let mut tally = Tally::new(SEED, 0);
    for case in trials::generate(&plan).cases {
        let verdict = trials::run(&plan, &case, SEED, &mut Memory::default()).await;
        tally.add("trip.saga.yaml", &case, &verdict);
    }
    insta::assert_snapshot!(bare(&tally.screen(std::time::Duration::from_millis(7))));
}
