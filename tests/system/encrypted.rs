//! A broker that is reached over TLS, with its authority and the password in files; and what is said when one is wrong.

use std::path::{Path, PathBuf};

use saga_tests::{
    certificates::{Authority, Identity},
    client::status,
    eventually,
    rabbitmq::RabbitMq,
    served::{Program, Served},
};
use saga_wire_amqp as amqp;
use saga_wire_amqp::Broker;
use serde_json::json;

async fn broker(identity: Identity) -> RabbitMq {
    tokio::task::spawn_blocking(move || RabbitMq::start_encrypted(&identity))
        .await
        .expect("a broker")
}

fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a file");
    path
}

#[tokio::test]
async fn server_and_participants_meet_over_tls_with_files_for_what_is_secret() {
    let authority = Authority::new();
    let broker = broker(authority.certify("localhost")).await;
    let folder = tempfile::tempdir().expect("a folder");
    let ca = file(folder.path(), "ca.pem", &authority.certificate)
        .display()
        .to_string();
    // As editors leave it.
    let password = file(folder.path(), "password", "guest\n")
        .display()
        .to_string();
    let url = broker.encrypted_url();
    let served = Served::start(&[
        "--broker",
        &url,
        "--broker-ca",
        &ca,
        "--broker-password-file",
        &password,
    ])
    .await;
    let trip =
        std::fs::read_to_string("../examples/book_trip/book_trip.saga.yaml").expect("the example");
    served.clients.deploy(&trip).await;
    let environment = [
        ("SAGA_ENDPOINT", &*url),
        ("SAGA_ENDPOINT_CA", &*ca),
        ("SAGA_ENDPOINT_PASSWORD_FILE", &*password),
    ];
    let services = Program::start("book_trip", &[], &environment, served.folder());
    let input = json!({
        "trip_id": "t-1", "customer_id": "ada", "amount_cents": 100,
        "flight": {"from": "FRA", "to": "LIS", "date": "2027-03-01"}, "hotel": {"city": "Lisbon", "nights": 1},
    });
    let id = served.clients.begin("book_trip", input).await;
    let seen = served.clients.ended(&id).await;
    assert_eq!(
        status(&seen),
        "completed",
        "{}\n{}",
        served.program.logged(),
        services.logged()
    );
    let logs = [served.program.logged(), services.logged()];
    assert!(
        logs.iter().all(|log| !log.contains("guest:guest")),
        "{logs:?}"
    );
}

/// What a server says that cannot get to its broker, and a participant.
struct Said {
    server: String,
    participant: String,
}

async fn said(url: &str, ca: Option<&Path>, password: &Path) -> Said {
    let broker = Broker {
        ca_file: ca.map(Path::to_owned),
        password_file: Some(password.to_owned()),
        ..Broker::at(url).expect("a URL")
    };
    let server = amqp::prepare(&broker, &Default::default())
        .await
        .expect_err("refused");
    let folder = tempfile::tempdir().expect("a folder");
    let password = password.display().to_string();
    let mut environment = vec![
        ("SAGA_ENDPOINT", url),
        ("SAGA_ENDPOINT_PASSWORD_FILE", &password),
    ];
    let ca = ca.map(|ca| ca.display().to_string());
    environment.extend(ca.as_deref().map(|ca| ("SAGA_ENDPOINT_CA", ca)));
    let services = Program::start("book_trip", &[], &environment, folder.path());
    let look = || async { Some(services.logged()).filter(|log| log.contains("not connected")) };
    let participant = eventually("the participant to say why", look).await;
    for text in [&server, &participant] {
        assert!(
            !text.contains("wrong-password"),
            "the password is repeated: {text}"
        );
    }
    Said {
        server,
        participant,
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_with_what_would_mend_it() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().expect("a folder");
    let ca = file(folder.path(), "ca.pem", &authority.certificate);
    let other_ca = file(folder.path(), "other.pem", &other.certificate);
    let password = file(folder.path(), "password", "guest");
    let wrong = file(folder.path(), "wrong", "wrong-password");
    let missing = folder.path().join("missing");
    let good = broker(authority.certify("localhost")).await;
    let url = good.encrypted_url();
    let vhost = format!("{url}/nowhere");
    let plain = good.url().replace("amqp://guest:guest", "amqps://guest");
    // URL, authority, password; words of the server and of the participant.
    type Case<'a> = (&'a str, Option<&'a Path>, &'a Path, &'a str, &'a str);
    let cases: [Case<'_>; 7] = [
        (&url, None, &password, "--broker-ca", "SAGA_ENDPOINT_CA"),
        (
            &url,
            Some(&other_ca),
            &password,
            "--broker-ca",
            "SAGA_ENDPOINT_CA",
        ),
        (
            &url,
            Some(&ca),
            &wrong,
            "--broker-password-file",
            "SAGA_ENDPOINT_PASSWORD_FILE",
        ),
        (&url, Some(&ca), &missing, "missing", "missing"),
        (&url, Some(&missing), &password, "missing", "missing"),
        (&vhost, Some(&ca), &password, "virtual host", "virtual host"),
        (
            &plain,
            Some(&ca),
            &password,
            "does not speak TLS",
            "does not speak TLS",
        ),
    ];
    for (url, ca, password, server, participant) in cases {
        let said = said(url, ca, password).await;
        assert!(said.server.contains(server), "{server}: {}", said.server);
        assert!(
            said.participant.contains(participant),
            "{participant}: {}",
            said.participant
        );
    }
    let rest = [
        (authority.certify("broker.internal"), "another host"),
        (authority.certify_until("localhost", 2_020), "expired"),
    ];
    for (identity, words) in rest {
        let strange = broker(identity).await;
        let said = said(&strange.encrypted_url(), Some(&ca), &password).await;
        assert!(said.server.contains(words), "{words}: {}", said.server);
        assert!(
            said.participant.contains(words),
            "{words}: {}",
            said.participant
        );
    }
}
