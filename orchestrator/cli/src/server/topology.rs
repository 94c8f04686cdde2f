//! `saga topology`: what stands on a RabbitMQ broker, and who may do what with it; without a server.

use std::path::PathBuf;

use saga_dsl::names::check_id;
use saga_wire_amqp::Broker;
use saga_wire_amqp::{
    prepare,
    topology::{
        objects, orchestrator_permissions, participant_permissions, reader_permissions,
        starter_permissions,
    },
};

use crate::{
    exit::{Exit, Failure},
    show::{
        output::{self, Frame},
        table::{self, Text},
    },
};

const EXAMPLES: &str = "\
Examples:
  saga topology flights hotels                 what stands on the broker for them
  saga topology flights --declare amqp://admin@broker.internal

`saga serve --broker` declares all of it by itself.";

/// Arguments of `saga topology`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Participants, as saga files write them before the slash
    #[arg(value_name = "PARTICIPANT")]
    participants: Vec<String>,
    /// Declare the objects on this broker instead of printing them
    #[arg(long, value_name = "URL")]
    declare: Option<String>,
    /// File with the password for --declare
    #[arg(long, value_name = "PATH", requires = "declare")]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) that the broker's is checked against, beside the well-known ones
    #[arg(long, value_name = "PATH", requires = "declare")]
    ca: Option<PathBuf>,
}

/// Runs `saga topology`.
pub async fn run(args: Args) -> Result<Exit, Failure> {
    for name in &args.participants {
        check_id(name).map_err(|error| {
            Failure::new(
                Exit::Usage,
                format!("participant `{}`: {error}", output::printable(name)),
            )
        })?;
    }
    let Some(url) = &args.declare else {
        output::data(&screen(&args.participants, Frame::of_stdout()))?;
        return Ok(Exit::Ok);
    };
    let broker = Broker::at(url).map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let broker = Broker {
        password_file: args.password_file,
        ca_file: args.ca,
        ..broker
    };
    prepare(&broker, &args.participants.iter().cloned().collect())
        .await
        .map_err(|why| Failure::error(format!("broker {broker}: {why}")))?;
    output::note(&format!("declared on {broker}"));
    Ok(Exit::Ok)
}

fn screen(participants: &[String], frame: Frame) -> String {
    let rows = objects(participants)
        .into_iter()
        .map(|line| Vec::from(line.map(Text::plain)));
    let declared = table::draw(&["OBJECT", "KIND", "WHAT FOR"], rows.collect(), frame);
    let line = |user: &str, permissions: [String; 3]| {
        let mut row = vec![Text::plain(user)];
        row.extend(permissions.map(Text::plain));
        row
    };
    let mut rows = vec![line("the server", orchestrator_permissions())];
    rows.extend(participants.iter().map(|name| {
        line(
            &format!("participant {name}"),
            participant_permissions(name),
        )
    }));
    rows.push(line(
        "a service that starts sagas",
        starter_permissions("NAME"),
    ));
    rows.push(line(
        "a service that reads events",
        reader_permissions("NAME"),
    ));
    let permitted = table::draw(&["USER", "CONFIGURE", "WRITE", "READ"], rows, frame);
    format!("{declared}\n{permitted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_names_objects_and_permissions() {
        let frame = Frame {
            width: None,
            ..Frame::of_stdout()
        };
        let screen = output::bare(&screen(&["flights".to_owned()], frame));
        for wanted in [
            "saga.cmd.flights",
            "saga.undo.flights",
            "saga.dead",
            r"^saga\.reply\.flights$",
            r"^saga\.(cmd|undo)",
            "saga.started",
            r"^(saga\.start$|NAME\.)",
        ] {
            assert!(screen.contains(wanted), "{wanted} is not in\n{screen}");
        }
    }
}
