//! The invariants as queries: the participants' ledgers and inboxes, joined with the ends of the sagas in the server's
//! store. Ledgers have no unique keys, so what was done twice stands there twice.

use std::{collections::BTreeSet, fmt, path::Path};

use rusqlite::{Connection, types::ValueRef};
use saga_examples::book_trip::PARTICIPANTS;

/// Something that was promised and is not so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The invariant's short name: `I5`.
    pub invariant: &'static str,
    /// What was found, as `column=value`.
    pub found: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.found)
    }
}

/// What the queries stand on: `end` (a saga and where it stands), `line` (of a ledger), `row` (of an inbox), and `deed`
/// (a key, how often it was done, and how often undone).
const VIEWS: &str = "
create temp table plan (participant text, step text, undoable integer);
insert into plan values ('flights', 'reserve_flight', 1), ('hotels', 'reserve_hotel', 1),
    ('payments', 'charge_card', 0), ('notifications', 'send_confirmation', 0);
create temp table end as select {id} as saga, key, incident,
    case status when 1 then 'running' when 2 then 'compensating' when 11 then 'completed'
        when 12 then 'compensated' else 'status ' || status end as status from store.saga;
create temp table deed as select participant, saga, step, round,
    sum(kind = 'effect') as done, sum(kind = 'compensation') as undone from line group by 1, 2, 3, 4;
create unique index temp.deed_saga on deed (saga, participant, step, round);
create unique index temp.end_saga on end (saga);
";

/// Each promise with the query that finds what breaks it.
const QUERIES: [(&str, &str); 9] = [
    // An action takes effect at most once.
    ("I1", "select * from deed where done > 1"),
    // A compensation takes effect only where its action did.
    ("I2", "select * from deed where undone > done"),
    // Once undone or forbidden, an action never takes effect.
    (
        "I3",
        "select row.*, done, undone from row join deed using (participant, saga, step, round)
         where row.state in ('tombstone', 'compensated') and done <> undone
         union all
         select effect.participant, effect.saga, effect.step, effect.round, 'done after its undo', 1, 1
         from line effect join line undo using (participant, saga, step, round)
         where effect.kind = 'effect' and undo.kind = 'compensation' and effect.number > undo.number",
    ),
    // Completed: every step once, nothing undone.
    (
        "I4",
        "select end.*, plan.step, done, undone from end join plan left join deed using (saga, participant, step)
         where end.status = 'completed' and (coalesce(done, 0) <> 1 or coalesce(undone, 0) <> 0)",
    ),
    // Compensated: net zero.
    (
        "I5",
        "select end.*, deed.step, done, undone from end join deed using (saga)
         where end.status = 'compensated' and done <> undone",
    ),
    // Nothing at or after the pivot is undone.
    ("I8", "select deed.* from deed join plan using (participant, step) where undone > 0 and not undoable"),
    // Nothing is done for a saga that is not there.
    ("I18", "select deed.* from deed left join end using (saga) where end.saga is null"),
    // A start key has one saga.
    ("I17", "select key, count(*) from end group by key having count(*) <> 1"),
    // What has not ended waits for an operator, and says so.
    ("I12", "select * from end where status in ('running', 'compensating') and not incident"),
];

/// A connection to everything that was left behind in `dir`; the server must be gone.
fn open(dir: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    for name in PARTICIPANTS.into_iter().chain(["store"]) {
        let file = if name == "store" { "saga" } else { name };
        let path = dir.join(file).with_extension("db");
        assert!(path.is_file(), "{} is not there", path.display());
        connection.execute(&format!("attach ? as {name}"), [path.to_string_lossy()])?;
    }
    let all = |columns: &str, table: &str| {
        let of =
            |name: &str| format!("select '{name}' as participant, {columns} from {name}.{table}");
        PARTICIPANTS.map(of).join(" union all ")
    };
    let lines = all(
        "saga_id as saga, step, round, kind, rowid as number, subject",
        "ledger",
    );
    let rows = all(
        &format!("{} as saga, step, round, state", uuid("saga_id")),
        "saga_inbox",
    );
    connection.execute_batch(&format!(
        "create temp view line as {lines}; create temp view row as {rows};"
    ))?;
    connection.execute_batch(&VIEWS.replace("{id}", &uuid("id")))?;
    Ok(connection)
}

/// Sixteen bytes in the form in which ledgers write them.
fn uuid(column: &str) -> String {
    let part =
        |from: usize, length: usize| format!("substr(lower(hex({column})), {from}, {length})");
    [
        part(1, 8),
        part(9, 4),
        part(13, 4),
        part(17, 4),
        part(21, 12),
    ]
    .join(" || '-' || ")
}

/// Everything that is not as it was promised, of all sagas at once.
pub fn violations(dir: &Path) -> Vec<Violation> {
    let connection = open(dir).expect("the databases can be read");
    let mut violations = Vec::new();
    for (invariant, query) in QUERIES {
        let rows =
            select(&connection, query).unwrap_or_else(|error| panic!("{invariant}: {error}"));
        violations.extend(rows.into_iter().map(|found| Violation { invariant, found }));
    }
    violations
}

/// The names of the invariants that are broken.
pub fn broken(violations: &[Violation]) -> BTreeSet<&'static str> {
    violations
        .iter()
        .map(|violation| violation.invariant)
        .collect()
}

/// Every line of every ledger and the state of every inbox row: what no repeated command may change.
pub fn effects(dir: &Path) -> Vec<String> {
    let connection = open(dir).expect("the databases can be read");
    let mut effects = select(
        &connection,
        "select * from line order by participant, number",
    )
    .expect("ledgers");
    effects.extend(select(&connection, "select * from row order by 1, 2, 3, 4").expect("inboxes"));
    effects
}

/// How many sagas stand where.
pub fn ends(dir: &Path) -> Vec<String> {
    let connection = open(dir).expect("the databases can be read");
    let query = "select status, incident, count(*) as sagas from end group by 1, 2 order by 1, 2";
    select(&connection, query).expect("sagas")
}

fn select(connection: &Connection, query: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(query)?;
    let columns: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let rows = statement.query_map([], |row| {
        let fields = columns.iter().enumerate().map(|(at, column)| {
            Ok(match row.get_ref(at)? {
                ValueRef::Null => format!("{column}=null"),
                ValueRef::Integer(number) => format!("{column}={number}"),
                ValueRef::Real(number) => format!("{column}={number}"),
                ValueRef::Text(text) | ValueRef::Blob(text) => {
                    format!("{column}={}", String::from_utf8_lossy(text))
                }
            })
        });
        Ok(fields.collect::<rusqlite::Result<Vec<String>>>()?.join(" "))
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAGAS: &str = "create table saga (id blob, key text, status integer, incident integer);";
    const LEDGER: &str =
        "create table ledger (saga_id text, step text, round integer, kind text, subject text);
        create table saga_inbox (saga_id blob, step text, round integer, state text);";

    /// Databases with a saga in `status` and, in the hotels' ledger, these lines.
    fn world(status: u8, incident: u8, lines: &str, inbox: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let make = |name: &str, statements: String| {
            let database = Connection::open(dir.path().join(name)).expect("a database");
            database.execute_batch(&statements).expect("statements");
        };
        let saga = "x'0102030405060708090a0b0c0d0e0f10'";
        make(
            "saga.db",
            format!("{SAGAS} insert into saga values ({saga}, 'k', {status}, {incident});"),
        );
        let id = "01020304-0506-0708-090a-0b0c0d0e0f10";
        for (name, step) in [
            ("flights", "reserve_flight"),
            ("hotels", "reserve_hotel"),
            ("payments", "charge_card"),
            ("notifications", "send_confirmation"),
        ] {
            let own = match name {
                "hotels" => lines,
                _ if status == 11 => "effect",
                _ => "",
            };
            let lines = own.split_whitespace().map(|kind| {
                format!("insert into ledger values ('{id}', '{step}', 1, '{kind}', '');")
            });
            let row = format!(
                "insert into saga_inbox select {saga}, '{step}', 1, '{inbox}' where '{inbox}' <> '' and '{name}' = 'hotels';"
            );
            make(
                &format!("{name}.db"),
                format!("{LEDGER} {} {row}", lines.collect::<String>()),
            );
        }
        dir
    }

    #[test]
    fn every_query_finds_what_it_is_for_and_nothing_else() {
        let (running, completed, compensated) = (1, 11, 12);
        for (status, incident, lines, inbox, expected) in [
            (completed, 0, "effect", "done", vec![]),
            (compensated, 0, "effect compensation", "compensated", vec![]),
            (compensated, 0, "", "tombstone", vec![]),
            (running, 1, "effect", "done", vec![]),
            (running, 0, "effect", "done", vec!["I12"]),
            (running, 1, "effect effect", "done", vec!["I1"]),
            (running, 1, "compensation", "", vec!["I2"]),
            (
                compensated,
                0,
                "compensation effect",
                "compensated",
                vec!["I3"],
            ),
            (running, 1, "effect", "tombstone", vec!["I3"]),
            (completed, 0, "", "", vec!["I4"]),
            (
                completed,
                0,
                "effect compensation",
                "compensated",
                vec!["I4"],
            ),
            (compensated, 0, "effect", "done", vec!["I5"]),
        ] {
            let dir = world(status, incident, lines, inbox);
            let found = violations(dir.path());
            assert_eq!(
                broken(&found).into_iter().collect::<Vec<_>>(),
                expected,
                "{lines:?} {inbox}: {found:?}"
            );
        }
        let dir = world(completed, 0, "effect", "done");
        let change = |name: &str, statement: &str| {
            let database = Connection::open(dir.path().join(name)).expect("a database");
            database.execute_batch(statement).expect("a statement");
        };
        change(
            "payments.db",
            "insert into ledger select saga_id, step, round, 'compensation', '' from ledger",
        );
        assert!(broken(&violations(dir.path())).contains("I8"));
        change(
            "saga.db",
            "insert into saga values (x'0202030405060708090a0b0c0d0e0f10', 'k', 12, 0)",
        );
        assert!(broken(&violations(dir.path())).contains("I17"));
        change("flights.db", "update ledger set saga_id = 'nobody'");
        assert!(broken(&violations(dir.path())).contains("I18"));
    }
}
