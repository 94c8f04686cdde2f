//! Where a database is, as people write it: a URL with one server or several, or the words of libpq (`host=... dbname=...`).
//!
//! Options are read here and not by sqlx, which logs what it does not know: a piece of a password, where that holds an
//! `&` or a `?`. Nothing that was written is repeated by a fault.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgConnectOptions;

use saga_engine::address::{self, Parts, check_host, decoded, encoded};

/// Where PostgreSQL listens when no port is written.
const PORT: u16 = 5432;
/// Servers in one address, at most: each may cost a dial its whole limit.
pub const SERVERS_MAX: usize = 8;

/// Options that are handed to the driver, by the names that libpq and sqlx give them; the last name is the driver's.
const PASSED: [&[&str]; 7] = [
    &["ssl-mode", "sslmode"],
    &["ssl-root-cert", "ssl-ca", "sslrootcert"],
    &["ssl-cert", "sslcert"],
    &["ssl-key", "sslkey"],
    &["statement-cache-capacity"],
    &["options"],
    &["application_name"],
];

/// Options of libpq without effect here.
const IGNORED: [&str; 19] = [
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "sslcompression",
    "sslcrl",
    "sslsni",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "tcp_user_timeout",
    "requirepeer",
];

/// Why an address of a database is refused. Repeats nothing of what may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It may be meant otherwise than it reads.
    #[error(transparent)]
    Address(#[from] address::Fault),
    /// An option that nobody knows.
    #[error(
        "it has an option that is unknown; if that is a piece of a password, percent-encode the password (& is %26, \
         = is %3D)"
    )]
    Option,
    /// The words of libpq are broken off.
    #[error(
        "it reads like the words of libpq and is broken off; write NAME='value' for a value with blanks"
    )]
    Words,
    /// As many ports as servers are wanted.
    #[error("it names another number of ports than of hosts")]
    Ports,
    /// Too many servers.
    #[error("it names more than {SERVERS_MAX} servers")]
    Servers,
    /// A store must be written.
    #[error("target_session_attrs must be read-write, primary or any: the store is written")]
    ReadOnly,
    /// The driver does not take it.
    #[error(
        "the value of an option is not understood; sslmode, for one, is disable, allow, prefer, require, \
             verify-ca or verify-full"
    )]
    Value,
}

/// One server of a database.
#[derive(Debug, Clone)]
pub struct Server {
    /// How it is dialled.
    pub options: PgConnectOptions,
    /// For messages: `host:port`.
    pub place: String,
}

/// A database on one server, or on several of which one takes writes.
#[derive(Clone)]
pub struct Address {
    /// In the order in which they are dialled.
    pub servers: Vec<Server>,
    database: Option<String>,
}

/// For messages: without user, password and options.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<&str> = self
            .servers
            .iter()
            .map(|server| server.place.as_str())
            .collect();
        write!(
            f,
            "postgres://{}/{}",
            places.join(","),
            self.database.as_deref().unwrap_or_default()
        )
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What was written, option by option.
#[derive(Default)]
struct Words {
    hosts: Vec<(String, Option<u16>)>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    /// Ready for the driver.
    passed: Vec<(&'static str, String)>,
    /// `options[name]`, the driver's own way.
    settings: Vec<(String, String)>,
}

impl Address {
    /// Whether this is meant for a database, and not the path of a file.
    #[must_use]
    pub fn is_meant(written: &str) -> bool {
        let scheme = written
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("postgres" | "postgresql")) || is_words(written)
    }

    /// Reads an address.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read(written: &str) -> Result<Self, Fault> {
        let words = if is_words(written) {
            Words::of_libpq(written)?
        } else {
            Words::of_url(written)?
        };
        words.address()
    }
}

/// `host=... dbname=...`: begins with an option of libpq.
fn is_words(written: &str) -> bool {
    let Some((name, _)) = written.split_once('=') else {
        return false;
    };
    let name = name.trim().to_ascii_lowercase();
    let known = [
        "host", "hostaddr", "port", "dbname", "user", "password", "service", "passfile", TARGET,
    ];
    known.contains(&name.as_str())
        || IGNORED.contains(&name.as_str())
        || PASSED.iter().any(|names| names.contains(&name.as_str()))
}

const TARGET: &str = "target_session_attrs";

impl Words {
    fn of_url(written: &str) -> Result<Self, Fault> {
        let parts = Parts::of(written)?;
        let text = |part: Option<&str>| part.map(decoded).transpose();
        let mut words = Self {
            hosts: if parts.hosts.is_empty() {
                Vec::new()
            } else {
                parts.servers()?
            },
            user: text(parts.user)?,
            password: text(parts.password)?,
            database: Some(decoded(parts.path)?).filter(|name| !name.is_empty()),
            ..Self::default()
        };
        for pair in parts.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(Fault::Option)?;
            words.take(&decoded(name)?, decoded(value)?)?;
        }
        Ok(words)
    }

    /// `name = value` with blanks between, a value in single quotes where it holds some, `\` before a quote.
    fn of_libpq(written: &str) -> Result<Self, Fault> {
        let mut words = Self::default();
        let mut rest = written.trim();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or(Fault::Words)?;
            let (value, after) = value(after.trim_start())?;
            words.take(&name.trim().to_ascii_lowercase(), value)?;
            rest = after.trim_start();
        }
        Ok(words)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), Fault> {
        match name {
            "host" | "hostaddr" => {
                value.split(',').try_for_each(check_host_or_six)?;
                let ports: Vec<Option<u16>> = self.hosts.iter().map(|(_, port)| *port).collect();
                let port = |at: usize| ports.get(at).copied().flatten();
                self.hosts = value
                    .split(',')
                    .enumerate()
                    .map(|(at, host)| (host.to_owned(), port(at)))
                    .collect();
            }
            "port" => {
                let ports = value
                    .split(',')
                    .map(address::port)
                    .collect::<Result<Vec<_>, _>>()?;
                self.hosts
                    .resize(self.hosts.len().max(ports.len()), (String::new(), None));
                let one = (ports.len() == 1).then(|| ports[0]);
                if one.is_none() && ports.len() != self.hosts.len() {
                    return Err(Fault::Ports);
                }
                for (at, host) in self.hosts.iter_mut().enumerate() {
                    host.1 = one.or(ports.get(at).copied());
                }
            }
            "dbname" => self.database = Some(value),
            "user" => self.user = Some(value),
            "password" => self.password = Some(value),
            TARGET => match value.as_str() {
                "any" | "read-write" | "primary" => {}
                _ => return Err(Fault::ReadOnly),
            },
            _ if IGNORED.contains(&name) => {
                tracing::warn!(
                    option = name,
                    "an option in the store's address has no effect here"
                );
            }
            _ => match PASSED.iter().find(|names| names.contains(&name)) {
                Some(names) => self.passed.extend(names.last().map(|name| (*name, value))),
                None => {
                    let setting = name
                        .strip_prefix("options[")
                        .and_then(|name| name.strip_suffix(']'));
                    self.settings
                        .push((setting.ok_or(Fault::Option)?.to_owned(), value));
                }
            },
        }
        Ok(())
    }

    fn address(mut self) -> Result<Address, Fault> {
        if self.hosts.is_empty() {
            self.hosts.push((String::new(), None));
        }
        if self.hosts.len() > SERVERS_MAX {
            return Err(Fault::Servers);
        }
        let servers = self
            .hosts
            .iter()
            .map(|(host, port)| self.server(host, *port));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let database = servers[0].options.get_database().map(str::to_owned);
        Ok(Address { servers, database })
    }

    /// The driver is given a URL of what was understood: it alone looks for a password in `.pgpass`.
    fn server(&self, host: &str, port: Option<u16>) -> Result<Server, Fault> {
        let mut options = Vec::new();
        let mut option =
            |name: &str, value: &str| options.push(format!("{name}={}", encoded(value)));
        if !host.is_empty() {
            option("host", host);
        }
        if let Some(port) = port {
            option("port", &port.to_string());
        } else if !host.is_empty() {
            option("port", &PORT.to_string());
        }
        let named = [
            ("user", &self.user),
            ("password", &self.password),
            ("dbname", &self.database),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                option(name, value);
            }
        }
        for (name, value) in &self.passed {
            option(name, value);
        }
        let url = format!("postgres:///?{}", options.join("&"));
        let options = PgConnectOptions::from_str(&url).map_err(|_| Fault::Value)?;
        // Even an empty list is sent, and refused by poolers.
        let options = match self.settings.is_empty() {
            true => options,
            false => options.options(
                self.settings
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            ),
        };
        let socket = options
            .get_socket()
            .map(|folder| folder.display().to_string());
        let place = socket.unwrap_or_else(|| options.get_host().to_owned());
        Ok(Server {
            place: format!("{place}:{}", options.get_port()),
            options,
        })
    }
}

fn check_host_or_six(host: &str) -> Result<(), address::Fault> {
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        Ok(())
    } else {
        check_host(host)
    }
}

/// A value of libpq's words, and what follows it.
fn value(text: &str) -> Result<(String, &str), Fault> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.push(chars.next().ok_or(Fault::Words)?.1),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        Err(Fault::Words)
    } else {
        Ok((value, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &str) -> Address {
        Address::read(written).unwrap_or_else(|fault| panic!("{written}: {fault}"))
    }

    /// Host, port, user and database of each server; the password by its effect alone.
    fn parts(address: &Address) -> Vec<(String, u16, String, String)> {
        let part = |server: &Server| {
            let options = &server.options;
            (
                options.get_host().to_owned(),
                options.get_port(),
                options.get_username().to_owned(),
                options.get_database().unwrap_or_default().to_owned(),
            )
        };
        address.servers.iter().map(part).collect()
    }

    #[test]
    fn a_url_may_name_several_servers() {
        let address =
            read("POSTGRESQL://u:s%40c@one:5433,two,[::1]:7/sagas?target_session_attrs=read-write");
        assert_eq!(
            address.to_string(),
            "postgres://one:5433,two:5432,[::1]:7/sagas"
        );
        let expected = [("one", 5433), ("two", 5432), ("[::1]", 7)];
        let expected =
            expected.map(|(host, port)| (host.to_owned(), port, "u".into(), "sagas".into()));
        assert_eq!(parts(&address), expected);
    }

    #[test]
    fn options_may_name_what_the_place_of_a_url_names() {
        for written in [
            "postgres:///db?host=one,two&port=5,6&user=u",
            "postgres://u@one:5,two:6/db",
            "host=one,two port=5,6 user=u dbname=db",
            " host = 'one,two' port = '5,6' user=u password='p a\\'ss' dbname=db sslmode=disable",
            "postgresql://u@/db?hostaddr=one,two&port=5,6&keepalives=1",
        ] {
            let address = read(written);
            assert_eq!(
                address.to_string(),
                "postgres://one:5,two:6/db",
                "{written}"
            );
            assert!(
                parts(&address)
                    .iter()
                    .all(|(_, _, user, db)| user == "u" && db == "db"),
                "{written}"
            );
        }
        let folder = read("postgres://u@%2Frun%2Fpostgresql/db");
        assert_eq!(folder.to_string(), "postgres:///run/postgresql:5432/db");
        assert_eq!(
            read("host=/run/postgresql dbname=db").to_string(),
            folder.to_string()
        );
    }

    #[test]
    fn a_password_is_never_repeated() {
        for written in [
            "postgres://u:/Kq7W+Wz9X?E':Xv3J@127.0.0.1:1/db",
            "postgres://u:Kq7W#Wz9X@127.0.0.1:1/db",
            "postgres://u:Kq7W/db",
            "postgres://u@h/db?password=Kq7W&Wz9X",
            "postgres://u@h/db?password=Kq7W&Wz9X=Xv3J",
            "postgres://u@h/db?sslmode=Kq7W",
            "host=h password='Kq7W Wz9X",
            "host=h password=Kq7W Wz9X",
            "host=h password=Kq7W Wz9X=Xv3J",
            "host=Kq7W@Wz9X dbname=x",
            "user=u host=h port=Kq7W",
        ] {
            let fault = Address::read(written).expect_err(written).to_string();
            assert!(
                ["Kq7W", "Wz9X", "Xv3J"]
                    .iter()
                    .all(|piece| !fault.contains(piece)),
                "{fault}"
            );
        }
        let address = read("postgres://u:Kq7W%23Wz9X@h/db?application_name=x");
        assert_eq!(
            format!("{address} {address:?}"),
            "postgres://h:5432/db postgres://h:5432/db"
        );
    }

    #[test]
    fn what_a_store_cannot_be_is_refused() {
        for (written, fault) in [
            (
                "postgres://h/db?target_session_attrs=standby",
                Fault::ReadOnly,
            ),
            ("host=h target_session_attrs=read-only", Fault::ReadOnly),
            ("postgres:///db?host=a,b,c&port=1,2", Fault::Ports),
            ("postgres://a,b,c,d,e,f,g,h,i/db", Fault::Servers),
            ("service=sagas", Fault::Option),
        ] {
            assert_eq!(Address::read(written).err(), Some(fault), "{written}");
        }
    }

    #[test]
    fn files_are_not_taken_for_databases() {
        for file in [
            "saga.db",
            "./host=x",
            "a=b.db",
            "/var/lib/saga",
            "sqlite:///x",
            "mysql://h/db",
        ] {
            assert!(!Address::is_meant(file), "{file}");
        }
        for meant in [
            "host=h",
            "dbname=x host=y",
            "Host = h",
            "postgres://h",
            "POSTGRES://h",
            "sslmode=x host=h",
        ] {
            assert!(Address::is_meant(meant), "{meant}");
        }
    }
}
